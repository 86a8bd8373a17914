"""Define the stored objects of a backfill: its manifest, its control object and the inventories of its parts.

A backfill cuts an archive into parts; each part is an ordinary run. These objects store the request and the cut. The
progress of a part is stored only in the plan and manifest of its run.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_schemas.fields import field, versioned

INVENTORY_VERSION: Final = 1

#: ``_backfills/<id>/parts/<part>.parquet``: the inventory that a part's run reads, sorted by uri.
INVENTORY: Final[pa.Schema] = versioned(
    "inventory",
    INVENTORY_VERSION,
    [
        field("uri", pa.string(), "fsspec URI of the source object, as listed."),
        field("version_token", pa.string(), "Version token of the object (etag:, crc32:, mtime: or size:)."),
        field("size", pa.int64(), "Size of the object as listed.", unit="bytes", nullable=True),
    ],
)


class CutBy(StrEnum):
    """Criterion by which an archive is cut into parts. Except for count, all objects of a part share one value."""

    COUNT = "count"
    PREFIX = "prefix"
    YEAR = "year"
    MONTH = "month"
    DAY = "day"


class PartOrder(StrEnum):
    """Order of the parts: by the value of the cut, or, for a cut by count, by the date in the path and the path."""

    NEWEST = "newest"
    OLDEST = "oldest"


class Cut(BaseModel):
    """How an archive is cut into parts.

    Attributes
    ----------
    by : CutBy
    part_size : int
        Largest number of objects in a part; a value of `by` with more objects gives several parts. Copies of an object
        stay together, so a part may be slightly larger.
    parts : int or None
        Total number of parts, of equal size; replaces `part_size` in a cut by count.
    depth : int
        Number of folders below the source that form a prefix.
    order : PartOrder
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: CutBy = CutBy.COUNT
    part_size: int = Field(default=50_000, ge=1)
    parts: int | None = Field(default=None, ge=1)
    depth: int = Field(default=1, ge=1)
    order: PartOrder = PartOrder.NEWEST

    @model_validator(mode="after")
    def _parts_need_count(self) -> Cut:
        if self.parts is not None and self.by is not CutBy.COUNT:
            raise ValueError(f"a number of parts needs a cut by count; got a cut by {self.by.value}")
        return self


class PartEntry(BaseModel):
    """One part: its number in order of work (``p0001`` first), its label for people, and the size of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    label: str
    objects: int
    bytes: int


class BackfillManifest(BaseModel):
    """``_backfills/<id>/backfill.json``. It is written after all inventories, so they are complete if it exists.

    Attributes
    ----------
    settings : dict
        Settings of every run, without the site's key and its file: each process that continues must have the key.
    bundle_digest, config_digest : str
        Digests of all runs; continuing with others is an error.
    listed : int
        References that the sources list: ``listed = objects of all parts + repeated``.
    repeated : int
        References to a uri that was already listed, because sources overlap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    backfill_id: str
    sources: tuple[str, ...]
    cut: Cut
    settings: dict[str, Any]
    bundle_name: str
    bundle_digest: str
    partition: str
    config_digest: str
    runner: str
    beam_options: tuple[str, ...]
    software_version: str
    created_at: datetime
    listed: int
    repeated: int
    parts: tuple[PartEntry, ...]

    @model_validator(mode="after")
    def _conserve(self) -> BackfillManifest:
        if self.listed != self.objects + self.repeated:
            raise ValueError(
                f"object counts do not add up: {self.listed} listed, "
                f"but {self.objects} in parts + {self.repeated} repeated"
            )
        return self

    @property
    def objects(self) -> int:
        """Number of objects in all parts."""
        return sum(entry.objects for entry in self.parts)

    @property
    def bytes(self) -> int:
        """Size of all parts as listed, in bytes."""
        return sum(entry.bytes for entry in self.parts)

    def run_id(self, part: str, attempt: int = 1) -> str:
        """Return the run id of a part: ``<id>-<part>`` at first, then ``<id>-<part>-2`` and so on."""
        first = f"{self.backfill_id}-{part}"
        return first if attempt == 1 else f"{first}-{attempt}"


class BackfillControl(BaseModel):
    """``_backfills/<id>/control.json``: a request to pause or resume. Absent if there was no request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paused: bool
    asked_at: datetime


class PartFailure(BaseModel):
    """``_backfills/<id>/failures/<part>.json``: why the last attempt at a part failed; removed by the next attempt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    message: str
    failed_at: datetime
