"""Define the manifest of a closed run: inputs, bundle and settings, outcome counts and speed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RunCounts(BaseModel):
    """Outcome counts of a run. Every listed reference has exactly one outcome (conservation).

    ``listed = scored + rejected + duplicate + settled_before``. `settled_before` counts references that an earlier run
    scored or finally rejected with the same bundle and config digest; their rows are in the same results root.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listed: int = Field(description="References that the sources gave.")
    scored: int = Field(description="References with a score row of this run.")
    rejected: int = Field(description="References with a reject row of this run.")
    duplicate: int = Field(description="References with the etag and size of another one in the same listing.")
    settled_before: int = Field(
        description="References that an earlier run settled under the same bundle and settings."
    )

    @model_validator(mode="after")
    def _conserve(self) -> RunCounts:
        settled = self.scored + self.rejected + self.duplicate + self.settled_before
        if self.listed != settled:
            raise ValueError(
                f"outcome counts do not add up: {self.listed} listed, but {self.scored} scored + "
                f"{self.rejected} rejected + {self.duplicate} duplicate + {self.settled_before} settled before "
                f"= {settled}"
            )
        return self


class RunManifest(BaseModel):
    """``_runs/<run id>/manifest.json``. It is written last: a run with a manifest is closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = Field(default=1, description="Version of this file's layout.")
    run_id: str = Field(description="Id of the run, as in its folder's name and in every row it wrote.")
    sources: tuple[str, ...] = Field(description="The sources as given: folders, globs, inventories.")
    bundle_name: str = Field(description="Name of the bundle.")
    bundle_version: str = Field(description="Version on the bundle's card.")
    bundle_digest: str = Field(description="SHA-256 of the bundle's card, weights and graphs.")
    config: dict[str, Any] = Field(
        description="Every setting that can change a row, except engine, precision and forward_batch; and the results "
        "version."
    )
    config_digest: str = Field(description="SHA-256 of `config`.")
    forward_batch: int | None = Field(
        default=None,
        description="Films per forward pass, fixed when the run was planned; none in older manifests.",
    )
    software_version: str = Field(description="Version of this package.")
    versions: dict[str, str] = Field(description="Versions of the libraries that can change a row.")
    runner: str = Field(description="Beam runner that scored.")
    planned_at: datetime = Field(description="When the plan was stored.")
    closed_at: datetime = Field(description="When the run was closed.")
    chunks: int = Field(description="Chunks in the plan.")
    chunks_settled_here: int = Field(
        description="Chunks that this run itself settled; the others were settled already."
    )
    counts: RunCounts = Field(description="How many references had each outcome; see below.")
    retryable: int = Field(description="Rejects that the next run tries again.")
    reasons: dict[str, int] = Field(description="Rejects by reason code.")
    seconds_scoring: float = Field(description="Seconds from the start of scoring to its end.")
    films_per_second: float = Field(description="Scored and rejected films over `seconds_scoring`.")
