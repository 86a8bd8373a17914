"""Score a selection of an archive: list, plan, score, settle, close."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

from cxr_pipelines.elements import Job
from cxr_pipelines.inference import BundleEngine, EngineFactory
from cxr_pipelines.read_ahead import head_start
from cxr_pipelines.run_progress import ProgressCallback, reporting
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_schemas import Manifest
from cxrlib.errors import LeaseLostError, RunError, UsageError
from cxrlib.models.bundle import Bundle, load_bundle
from cxrlib.parallel.cores import cores
from cxrlib.results.objects import Store
from cxrlib.runs import lease
from cxrlib.runs.lease import Held, LeaseTerms
from cxrlib.runs.lease_context import holding
from cxrlib.runs.run import Run, close_run, read_manifest, resume_run, start_run
from cxrlib.runs.run_id import new_run_id
from cxrlib.scoring import ScoringParameters
from cxrlib.settings import Settings

#: Films for each core at a time: a batch of the usual card.
_FILMS_A_CORE: Final = 16


def score(
    sources: Sequence[str],
    out: str,
    settings: Settings,
    *,
    run_id: str | None = None,
    resume: bool = False,
    runner: RunnerChoice | str = "local",
    progress: ProgressCallback | None = None,
    bundle: Bundle | None = None,
    engine: EngineFactory | None = None,
    under: Held | None = None,
    on_lost: Callable[[LeaseLostError], None] | None = None,
) -> Manifest:
    """Score what `sources` name into the results root `out`, and return the manifest of the closed run.

    Parameters
    ----------
    sources : sequence of str
        As `cxrlib.archive.listing.list_sources` takes them. May be empty where a planned run is taken up again.
    out : str
        fsspec URI of the results root.
    settings : Settings
    run_id : str, optional
        Made up where it is not given.
    resume : bool
        Take up the run `run_id` where it has a plan; begin it where it has none. A closed run gives its manifest.
    runner : RunnerChoice or str
        ``local``, ``local:N`` for N worker processes, or a runner of Beam.
    progress : callable, optional
        Called from a thread with films done and films to score.
    bundle : Bundle, optional
        Where it is loaded already; else ``settings.bundle`` is.
    engine : callable, optional
        Makes what runs the networks, in each worker process; else the engine of the bundle.
    under : Held, optional
        A lease that the caller holds; else one is taken for as long as the run lasts, as ``settings.run`` says.
    on_lost : callable, optional
        Called from a thread where another took the lease over; the run will not close, so that it may be ended there.

    Raises
    ------
    BusyError
        Another run into `out` is under way under the same bundle and settings.
    LeaseLostError
        This one showed no sign of life for so long that another took the results root over.
    UsageError
        Bad sources, results root, run id or runner.
    BundleError
        The bundle cannot be loaded.
    RunError
        The run is another's, was overtaken, or does not reconcile.
    """
    if resume and run_id is None:
        raise UsageError("to take up a run again, its id is needed")
    choice = RunnerChoice.parse(runner) if isinstance(runner, str) else runner
    store = Store.at(out)
    bundle = load_bundle(settings.bundle) if bundle is None else bundle
    run_id = new_run_id() if run_id is None else run_id
    engine = engine or BundleEngine(settings, bundle.digest)
    with _leased(store, settings, bundle, run_id, under=under, on_lost=on_lost) as check:
        run = resume_run(sources, store, settings, bundle, run_id) if resume else None
        if run is None:
            run = start_run(sources, store, settings, bundle, run_id)
        elif closed := read_manifest(store, run_id):
            return closed
        return _score(
            run,
            job_of(run, _sharing_cores(settings, choice), bundle),
            engine,
            choice,
            progress=progress,
            check_lease=check,
        )


def _score(
    run: Run,
    job: Job,
    engine: EngineFactory,
    choice: RunnerChoice,
    *,
    progress: ProgressCallback | None,
    check_lease: Callable[[], None],
) -> Manifest:
    unsettled = run.unsettled()
    started = time.monotonic()
    if unsettled:
        with (
            head_start(job, unsettled[0]) if choice.here else nullcontext(),
            reporting(progress, run.store, run.header.partition, run.header.run_id, run.chunks),
        ):
            from cxr_pipelines.beam.run_graph import run_graph  # noqa: PLC0415 - Beam and torch take seconds; often nothing is new

            run_graph(job, engine, choice)
    left = run.unsettled()
    if left:
        raise RunError(
            f"run {run.header.run_id}: expected {len(unsettled)} chunks to be settled; got {len(left)} that are not"
        )
    check_lease()
    return close_run(
        run,
        runner=str(choice),
        settled_here=len(unsettled),
        films_here=sum(chunk.films for chunk in unsettled),
        seconds=time.monotonic() - started,
    )


@contextmanager
def _leased(
    store: Store,
    settings: Settings,
    bundle: Bundle,
    run_id: str,
    *,
    under: Held | None,
    on_lost: Callable[[LeaseLostError], None] | None,
) -> Iterator[Callable[[], None]]:
    """Give what checks the lease, be it the caller's or one of our own."""
    if under is not None:
        lease.check(store, under)
        yield lambda: lease.check(store, under)
        return
    scope = lease.scope_of(bundle.partition, settings.digest())
    with holding(store, scope, run_id, LeaseTerms.of(settings.run), on_lost=on_lost) as held:
        yield held.check


def _sharing_cores(settings: Settings, choice: RunnerChoice) -> Settings:
    """Return settings by which the worker processes of this machine share its cores; as they are for another one."""
    if not choice.local:
        return settings
    each = max(1, cores() // choice.workers)
    run = settings.run
    update: dict[str, int] = {}
    if run.decode_workers is None:
        update["decode_workers"] = each
    if run.batch_size is None:
        update["batch_size"] = _FILMS_A_CORE * each
    return settings.model_copy(update={"run": run.model_copy(update=update)})


def job_of(run: Run, settings: Settings, bundle: Bundle) -> Job:
    """Return what the workers of a run must know."""
    return Job(run.store, run.header, run.provenance, settings, ScoringParameters.of(bundle.card))
