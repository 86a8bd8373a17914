"""The flow that scores an archive in parts: each part is a task, several run at once, and it can be paused.

What works off the parts is `cxr_pipelines.backfill.scheduler`, as for the command ``cxr backfill``: the lease, the pause and the order are
the same, and either goes on with what the other began. Prefect adds the retries of a part's task (with jitter), the
progress and summary artifacts, and its own limits: every part's task has the tag ``cxr-backfill-part``, so that
``prefect concurrency-limit create cxr-backfill-part N`` holds several backfills together to N parts. A part scores in
a process group of its own, which ends with the flow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed

from cxr_flows.reports.backfill import BackfillTotals, board_line, totals_lines, totals_markdown
from cxr_flows.tasks import ProgressArtifact, verify_results
from cxr_pipelines.backfill.progress import BoardSnapshot, ProgressBoard
from cxr_pipelines.backfill.scheduler import BackfillWork, Ending, run_parts
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_pipelines.jobs.run_job import run_job
from cxr_schemas import BackfillManifest, Cut, CutBy, Manifest, PartOrder
from cxrlib.backfills.create import BackfillRequest, check_settings, start_backfill
from cxrlib.backfills.stored import ask_to_go_on, part_states, require_backfill
from cxrlib.errors import BusyError, LeaseLostError, RunError, StalePlanError, StoppedError, UsageError
from cxrlib.models.bundle import load_bundle
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.run_id import new_run_id
from cxrlib.settings import Settings

PART_TAG = "cxr-backfill-part"
#: What another try at the same run cannot heal: it is asked for wrongly, or is for the backfill to deal with.
_NOT_TRIED_AGAIN = (UsageError, BusyError, StoppedError, StalePlanError, LeaseLostError)


def _may_heal(_task: Any, _run: Any, state: Any) -> bool:
    return not isinstance(state.result(raise_on_failure=False), _NOT_TRIED_AGAIN)


@task(name="cut archive", retries=2, retry_delay_seconds=30, retry_condition_fn=_may_heal, cache_policy=NO_CACHE)
def cut_archive(request: BackfillRequest, out: str) -> BackfillManifest:
    """List the archive once, and store its parts."""
    return start_backfill(ResultsRoot.at(out), request, load_bundle(request.settings.bundle))


@task(
    name="score part",
    task_run_name="score {job.run_id}",
    tags={PART_TAG},
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_jitter_factor=0.5,
    retry_condition_fn=_may_heal,
    cache_policy=NO_CACHE,
)
def score_part(job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> Manifest:
    """Score one part in a process group of its own; a further try takes the same run up where the one before fell."""
    return run_job(job, on_progress, stop)


@task(name="publish backfill", retries=2, retry_delay_seconds=5, cache_policy=NO_CACHE)
def publish_backfill(totals: BackfillTotals, view: BoardSnapshot, out: str) -> None:
    """Leave what the backfill has come to as a markdown artifact."""
    create_markdown_artifact(
        totals_markdown(totals, view, out), key="cxr-backfill", description=f"Backfill {totals.backfill_id}"
    )


@flow(name="backfill", log_prints=False, validate_parameters=True)
def backfill(
    sources: list[str],
    out: str,
    *,
    backfill_id: str | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    bundle: str | None = None,
    by: CutBy = CutBy.COUNT,
    part_size: int = 50_000,
    depth: int = 1,
    order: PartOrder = PartOrder.NEWEST,
    parallel: int = 1,
    retries: int = 2,
    runner: str = "local",
    beam_options: list[str] | None = None,
    debug: bool = False,
) -> State[BackfillTotals]:
    """Score every film under `sources` that is not settled in the results root `out`, part by part.

    Args:
        sources: fsspec URIs: folders, prefixes, globs or inventory files. Of no account where a backfill is
            resumed.
        out: URI of the results root.
        backfill_id: Name of the backfill; made up where it is not given.
        resume: Go on with the backfill `backfill_id`, whose own settings and parts hold.
        retry_failed: Of a backfill that is resumed, only the parts that fell or closed with rejects that may
            heal.
        bundle: Model bundle; all other settings come from ``CXR_`` environment variables.
        by: What begins a part of its own: ``count``, ``prefix``, or the study date by ``year``, ``month`` or
            ``day``.
        part_size: Most objects of a part.
        depth: Folders that make a prefix.
        order: ``newest`` or ``oldest`` first.
        parallel: Parts at once.
        retries: How often a part that fell is taken up again, by its run's id.
        runner: ``local``, ``local:N`` for N worker processes, or a runner of Beam, on which a part is one job.
        beam_options: Options of Beam's runner, such as ``--flink_master=flink:8081``.
        debug: Write the traceback of a failure to the log of the process that scores.

    Returns:
        Completed with the totals; its name is ``Paused`` where the backfill was asked to pause.

    Raises:
        RunError: Parts fell, or the results root does not reconcile.
    """
    results = ResultsRoot.at(out)
    if resume:
        manifest, settings = _take_up(results, backfill_id, bundle)
        runner, beam_options = manifest.runner, list(manifest.beam_options)
    else:
        settings = Settings() if bundle is None else Settings(bundle=bundle)
        cut = Cut(by=by, part_size=part_size, depth=depth, order=order)
        name = backfill_id or new_run_id()
        options = tuple(beam_options or ())
        manifest = cut_archive(BackfillRequest(name, tuple(sources), cut, settings, runner, options), out)
    work = BackfillWork(
        results,
        manifest,
        settings,
        parallel=parallel,
        retries=0,  # they are the task's
        only_failed=retry_failed,
        runner=runner,
        beam_options=tuple(beam_options or ()),
        debug=debug,
    )
    board = ProgressBoard(part_states(results, manifest))
    ending = run_parts(work, board, score_part.with_options(retries=retries), _Telling())
    totals = BackfillTotals.of(manifest, part_states(results, manifest))
    publish_backfill(totals, board.view(), out)
    for line in totals_lines(totals):
        get_run_logger().info(line)
    if ending is Ending.PAUSED:
        return Completed(name="Paused", message=f"{totals.done} of {totals.parts} parts are done", data=totals)
    verify_results(out)
    if totals.failed:
        raise RunError("; ".join(totals_lines(totals)))
    return Completed(message=f"{totals.parts} parts are done", data=totals)


def _take_up(results: ResultsRoot, backfill_id: str | None, bundle: str | None) -> tuple[BackfillManifest, Settings]:
    if backfill_id is None:
        raise UsageError("to go on with a backfill, its id is needed")
    manifest = require_backfill(results, backfill_id)
    given = manifest.settings if bundle is None else {**manifest.settings, "bundle": bundle}
    settings = Settings(**given)
    check_settings(manifest, settings, load_bundle(settings.bundle))
    ask_to_go_on(results, backfill_id)
    return manifest, settings


class _Telling:
    """Tells how the parts stand: percent to a progress artifact, and what it waits for to the flow's log."""

    def __init__(self) -> None:
        self._artifact = ProgressArtifact("cxr-backfill-progress")
        self._logger = get_run_logger()
        self._said = ""

    def __call__(self, board: ProgressBoard) -> None:
        """Take note of the board."""
        view = board.view()
        self._artifact(Progress(done=view.objects - view.left, total=view.objects))
        if view.notice != self._said:
            self._said = view.notice
            self._logger.info(board_line(view))
