"""The manifest of a backfill, its control object and the inventory of one of its parts.

A backfill is an archive cut into parts, each of which is an ordinary run. What is stored of it says what was asked for
and how it was cut; how far a part has come is told by its run's plan and manifest, and stands nowhere else.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_schemas.fields import field, versioned

INVENTORY_VERSION: Final = 1

#: ``_backfills/<id>/parts/<part>.parquet``: the source of a part's run, sorted by uri.
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
    """By what an archive is cut: each value of it begins a part of its own."""

    COUNT = "count"
    PREFIX = "prefix"
    YEAR = "year"
    MONTH = "month"
    DAY = "day"


class PartOrder(StrEnum):
    """Which parts come first: by what they are cut by, or, cut by count, by the date in the path and the path."""

    NEWEST = "newest"
    OLDEST = "oldest"


class Cut(BaseModel):
    """How an archive is cut.

    Attributes
    ----------
    by : CutBy
    part_size : int
        Most objects of a part; what one value of `by` holds beyond it is cut again. Copies of one object stay
        together, so that a part may hold a few more.
    parts : int or None
        Parts in all, of equal size, in place of `part_size`; where it is cut by count.
    depth : int
        Folders below the source that make a prefix.
    order : Order
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: CutBy = CutBy.COUNT
    part_size: int = Field(default=50_000, ge=1)
    parts: int | None = Field(default=None, ge=1)
    depth: int = Field(default=1, ge=1)
    order: PartOrder = PartOrder.NEWEST

    @model_validator(mode="after")
    def _parts_are_counted(self) -> Cut:
        if self.parts is not None and self.by is not CutBy.COUNT:
            raise ValueError(f"a number of parts can be given where they are cut by count; got {self.by.value}")
        return self


class PartEntry(BaseModel):
    """One part: its number among all, in order of work (``p0001`` first), its name for people, and what it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: str
    label: str
    objects: int
    bytes: int


class BackfillManifest(BaseModel):
    """``_backfills/<id>/backfill.json``; written after all inventories, so that its presence says that they are whole.

    Attributes
    ----------
    settings : dict
        Of every run, without the site's key and where it lies: whoever goes on with the backfill must have it.
    bundle_digest, config_digest : str
        Under which all parts run; who goes on under others is refused.
    listed : int
        References that the sources gave; `listed = objects of all parts + repeated`.
    repeated : int
        References to a uri that was listed before, as sources that overlap give them.
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
                f"conservation is broken: {self.listed} listed, but {self.objects} in parts + {self.repeated} repeated"
            )
        return self

    @property
    def objects(self) -> int:
        """Objects of all parts."""
        return sum(entry.objects for entry in self.parts)

    @property
    def bytes(self) -> int:
        """Bytes of all parts, as listed."""
        return sum(entry.bytes for entry in self.parts)

    def run_id(self, part: str, attempt: int = 1) -> str:
        """Return the id of a part's run: ``<id>-<part>``, and ``<id>-<part>-2`` for the run that follows."""
        first = f"{self.backfill_id}-{part}"
        return first if attempt == 1 else f"{first}-{attempt}"


class BackfillControl(BaseModel):
    """``_backfills/<id>/control.json``: what whoever works on the backfill is asked to do. Absent where nothing is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paused: bool
    asked_at: datetime


class PartFailure(BaseModel):
    """``_backfills/<id>/failures/<part>.json``: why the last try at a part fell; removed by the next one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    message: str
    failed_at: datetime
