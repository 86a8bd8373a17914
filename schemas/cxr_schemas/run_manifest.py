"""The manifest of a closed run: what was listed, what became of it, by what, and how fast."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator


class Counts(BaseModel):
    """Conservation of a run: every listed reference has exactly one outcome.

    ``listed = scored + rejected + duplicate + settled_before``, where `settled_before` are references that an earlier
    run scored or finally rejected under the same bundle and config digest; their rows are in the same results root.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    listed: int
    scored: int
    rejected: int
    duplicate: int
    settled_before: int

    @model_validator(mode="after")
    def _conserve(self) -> Counts:
        settled = self.scored + self.rejected + self.duplicate + self.settled_before
        if self.listed != settled:
            raise ValueError(
                f"conservation is broken: {self.listed} listed, but {self.scored} scored + {self.rejected} rejected + "
                f"{self.duplicate} duplicate + {self.settled_before} settled before = {settled}"
            )
        return self


class Manifest(BaseModel):
    """``_runs/<run id>/manifest.json``; written last, so that its presence says the run is closed."""

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
    counts: Counts
    retryable: int
    reasons: dict[str, int]
    seconds_scoring: float
    films_per_second: float
