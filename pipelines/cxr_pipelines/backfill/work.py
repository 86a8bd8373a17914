"""The description of the work on a backfill: which parts are scored, by how many runs at once, with which runner."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_schemas import BackfillManifest, RunManifest
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease_chain
from cxrlib.settings import Settings


class RunPart(Protocol):
    """Scores one part and returns its manifest; raises `StoppedError` when `stop` is set."""

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        """Score the part."""


class Ending(StrEnum):
    """How the work on a backfill ended."""

    FINISHED = "finished"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class BackfillWork:
    """A backfill and how to score its parts.

    Attributes
    ----------
    results : ResultsRoot
    manifest : BackfillManifest
    settings : Settings
        Settings of every part.
    parallel : int
        Number of parts that run at once.
    retries : int
        Number of tries after the first one that a part gets, after all other parts had their first try.
    retry_delay_s : float
        Minimum wait in seconds before the second try. It doubles for each further try, plus random jitter of up to the
        same length.
    only_failed : bool
        Score only parts that failed before or that closed with retryable rejects.
    runner : str
        Runner as in `cxr_pipelines.score.score`.
    beam_options : tuple of str
    debug : bool
        Write the traceback of a failure to the log of the process that scores.
    """

    results: ResultsRoot
    manifest: BackfillManifest
    settings: Settings
    parallel: int = 1
    retries: int = 1
    retry_delay_s: float = 15.0
    only_failed: bool = False
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    debug: bool = False

    @property
    def scope(self) -> str:
        """Scope of the lease."""
        return lease_chain.scope_of(self.manifest.partition, self.manifest.config_digest)

    @property
    def local(self) -> bool:
        """Whether a part ends when its process ends."""
        return RunnerChoice.parse(self.runner).local
