"""Define the manifest of a closed run: inputs, bundle and settings, outcome counts and speed."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class RunCounts(BaseModel):
    """Outcome counts of a run. Every listed reference has exactly one outcome (conservation).

    ``listed = scored + rejected + duplicate + settled_before``. `settled_before` counts references that an earlier run
    scored or finally rejected with the same bundle and config digest; their rows are in the same results root.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listed: int
    scored: int
    rejected: int
    duplicate: int
    settled_before: int

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

    schema_version: Literal[1] = 1
    run_id: str
    sources: tuple[str, ...]
    bundle_name: str
    bundle_version: str
    bundle_digest: str
    config: dict[str, Any]
    config_digest: str
    software_version: str
    versions: dict[str, str]
    runner: str
    planned_at: datetime
    closed_at: datetime
    chunks: int
    chunks_settled_here: int
    counts: RunCounts
    retryable: int
    reasons: dict[str, int]
    seconds_scoring: float
    films_per_second: float
