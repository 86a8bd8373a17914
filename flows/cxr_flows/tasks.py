"""Prefect tasks: each is one step of a flow with its own retries. The layers below do the work."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from cxr_flows.reports.run import summary_lines, summary_markdown
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_pipelines.jobs.run_job import run_job
from cxr_schemas import RunManifest
from cxrlib.errors import BusyError, RunError, UsageError
from cxrlib.results.verify import verify

#: Seconds between two updates of the progress artifact; each is a call to the server.
PROGRESS_EVERY_S = 2.0


def _is_retryable(_task: Any, _run: Any, state: Any) -> bool:
    """Whether another try may succeed: not after a usage error, and not if another run holds the results root."""
    return not isinstance(state.result(raise_on_failure=False), UsageError | BusyError)


class ProgressArtifact:
    """Publishes a run's progress as a Prefect artifact, updated at most every `PROGRESS_EVERY_S` seconds."""

    def __init__(self, key: str) -> None:
        identifier = create_progress_artifact(progress=0.0, key=key, description="Films settled, in percent")
        if not isinstance(identifier, UUID):
            raise RunError("expected a progress artifact with an id; got none, as happens in an asynchronous task")
        self._identifier = identifier
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Publish `progress`."""
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
    retry_condition_fn=_is_retryable,
    cache_policy=NO_CACHE,
)
def score_archive(job: ScoreJob) -> RunManifest:
    """Score in a process group of its own. A further try resumes the same run."""
    context = TaskRunContext.get()
    retried = context is not None and context.task_run.run_count > 1
    logger = get_run_logger()
    if retried:
        logger.warning("resuming run %s", job.run_id)
    manifest = run_job(job.model_copy(update={"resume": job.resume or retried}), ProgressArtifact("cxr-progress"))
    for line in summary_lines(manifest):
        logger.info(line)
    return manifest


@task(name="publish summary", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def publish_summary(manifest: RunManifest, out: str) -> None:
    """Publish the result of the run as a markdown artifact."""
    create_markdown_artifact(summary_markdown(manifest, out), key="cxr-summary", description=f"Run {manifest.run_id}")


@task(name="verify", retries=1, retry_delay_seconds=30, cache_policy=NO_CACHE)
def verify_results(out: str) -> None:
    """Check the results root from its stored files alone; raise `RunError` with the problems."""
    report = verify(out)
    if not report.ok:
        problems = "; ".join(f"{problem.kind} {problem.count}" for problem in report.problems)
        raise RunError(f"{out} does not reconcile: {problems}; `cxr verify` shows examples")
