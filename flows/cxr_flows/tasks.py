"""Prefect tasks: each is one step of a flow, with its own retries. The work itself is done in the layers below."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from cxr_flows.reports.run import summary_lines, summary_markdown
from cxr_pipelines.jobs.job import Progress, ScoreJob
from cxr_pipelines.jobs.run_job import run_job
from cxr_schemas import Manifest
from cxrlib.errors import BusyError, RunError, UsageError
from cxrlib.results.verify import verify

#: Seconds between two updates of the progress artifact; each is a call to the server.
PROGRESS_EVERY_S = 2.0


def _may_heal(_task: Any, _run: Any, state: Any) -> bool:
    """Whether a failed try is worth another: what was asked for wrongly stays wrong, and who is busy was waited for."""
    return not isinstance(state.result(raise_on_failure=False), UsageError | BusyError)


class ProgressArtifact:
    """The run's progress as a Prefect progress artifact, updated at most every `PROGRESS_EVERY_S` seconds."""

    def __init__(self, key: str) -> None:
        identifier = create_progress_artifact(progress=0.0, key=key, description="Films settled, in percent")
        if not isinstance(identifier, UUID):
            raise RunError("the progress artifact must be made from a synchronous task")
        self._identifier = identifier
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take note of `progress`."""
        finished = progress.done >= progress.total
        if time.monotonic() < self._next and not finished:
            return
        self._next = time.monotonic() + PROGRESS_EVERY_S
        percent = 100.0 if finished else 100.0 * progress.done / progress.total
        update_progress_artifact(self._identifier, progress=percent)


@task(
    name="score",
    retries=2,
    retry_delay_seconds=[30, 300],
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_heal,
    cache_policy=NO_CACHE,
)
def score_archive(job: ScoreJob) -> Manifest:
    """Score in a process group of its own; a second try takes the same run up where the first one fell."""
    context = TaskRunContext.get()
    again = context is not None and context.task_run.run_count > 1
    logger = get_run_logger()
    if again:
        logger.warning("taking up run %s again", job.run_id)
    manifest = run_job(job.model_copy(update={"resume": job.resume or again}), ProgressArtifact("cxr-progress"))
    for line in summary_lines(manifest):
        logger.info(line)
    return manifest


@task(name="publish summary", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def publish_summary(manifest: Manifest, out: str) -> None:
    """Leave the run's outcome as a markdown artifact."""
    create_markdown_artifact(summary_markdown(manifest, out), key="cxr-summary", description=f"Run {manifest.run_id}")


@task(name="verify", retries=1, retry_delay_seconds=30, cache_policy=NO_CACHE)
def verify_results(out: str) -> None:
    """Check from the stored files alone that nothing was lost; raise `RunError` with what was."""
    report = verify(out)
    if not report.ok:
        said = "; ".join(f"{problem.kind} {problem.count}" for problem in report.problems)
        raise RunError(f"{out} does not reconcile: {said}; `cxr verify` names examples")
