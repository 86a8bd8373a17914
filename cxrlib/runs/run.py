"""Start, resume and close a run: everything but the scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
from duckdb import DuckDBPyConnection

from cxr_schemas import RunCounts, RunManifest
from cxrlib import __version__
from cxrlib.archive.listing import list_batches
from cxrlib.errors import RunError, StalePlanError, UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.forward_batch import choose_forward_batch
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import software_versions
from cxrlib.runs.chunks import tally
from cxrlib.runs.ledger import fill_ledger
from cxrlib.runs.plan import Chunk, PlanHeader, PlanSummary, films_of, read_plan_summary, write_plan
from cxrlib.runs.planning import count_settled_since, draft_plan
from cxrlib.runs.run_id import check_run_id
from cxrlib.settings import Settings
from cxrlib.types import Provenance


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run whose plan is stored.

    Attributes
    ----------
    results : ResultsRoot
    summary : PlanSummary
        Chunks and counts of its plan.
    header : PlanHeader
    """

    results: ResultsRoot
    summary: PlanSummary
    header: PlanHeader

    @property
    def chunks(self) -> Sequence[Chunk]:
        """All chunks of the plan."""
        return self.summary.chunks

    @property
    def provenance(self) -> Provenance:
        """Provenance of every row of the run."""
        return Provenance(
            bundle_name=self.header.bundle_name,
            bundle_version=self.header.bundle_version,
            bundle_digest=self.header.bundle_digest,
            config_digest=self.header.config_digest,
            software_version=self.header.software_version,
            run_id=self.header.run_id,
        )

    def unsettled(self) -> list[Chunk]:
        """Return the chunks that are not settled yet."""
        settled = self.results.chunks(RowKind.SCORES, self.header.partition)
        return [chunk for chunk in self.chunks if chunk.chunk_id not in settled]


def start_run(
    sources: Sequence[str],
    results: ResultsRoot,
    settings: Settings,
    bundle: Bundle,
    run_id: str,
    *,
    workers_per_gpu: int = 1,
) -> Run:
    """List `sources`, plan the films that are not settled yet, and store the plan.

    `workers_per_gpu` are the worker processes that will share a GPU, if the run uses GPUs.

    Raises
    ------
    UsageError
        A source cannot be listed, or `run_id` is not valid or has a plan already.
    RunError
        The results root is an incomplete copy.
    """
    results.require_complete()
    check_run_id(run_id)
    if read_plan_summary(results, run_id) is not None:
        raise UsageError(f"the run {run_id} is planned already; resume it, or choose another id")
    config_digest = settings.digest()
    header = PlanHeader(
        run_id=run_id,
        planned_at=datetime.now(UTC).isoformat(),
        sources=tuple(sources),
        bundle_name=bundle.card.bundle.name,
        bundle_version=bundle.card.bundle.version,
        bundle_digest=bundle.digest,
        partition=bundle.partition,
        config=settings.row_config(),
        config_digest=config_digest,
        chunk_size=settings.run.chunk_size,
        software_version=__version__,
        forward_batch=choose_forward_batch(settings.run, bundle.card, workers_per_gpu=workers_per_gpu),
    )
    with draft_plan(
        _outside(list_batches(sources), results),
        _ledger(results, header),
        chunk_size=settings.run.chunk_size,
        bundle_digest=bundle.digest,
        config_digest=config_digest,
    ) as draft:
        write_plan(results, draft.tables(), header)
    return Run(results, draft.summary, header)


def resume_run(
    sources: Sequence[str], results: ResultsRoot, settings: Settings, bundle: Bundle, run_id: str
) -> Run | None:
    """Resume a run with its stored plan and its forward batch, whatever sources and devices there are now.

    Return None where it has no plan.

    Raises
    ------
    StalePlanError
        The plan was made for another bundle, other settings, another software version or other sources, another
        forward batch was asked for, or another run has settled some of its films since.
    """
    stored = read_plan_summary(results, run_id)
    if stored is None:
        return None
    run = Run(results, *stored)
    current = {
        "bundle": (run.header.bundle_digest, bundle.digest),
        "settings": (run.header.config_digest, settings.digest()),
        "software version": (run.header.software_version, __version__),
    }
    if settings.run.forward_batch is not None:
        fixed = run.header.forward_batch or bundle.card.input.batch
        current["forward batch"] = (str(fixed), str(settings.run.forward_batch))
    if sources:
        current["sources"] = (" ".join(run.header.sources), " ".join(sources))
    for what, (planned, got) in current.items():
        if planned != got:
            raise StalePlanError(f"run {run_id} was planned with {what} {planned}; got {got}: start a new run instead")
    _check_not_settled_since(run)
    return run


def read_manifest(results: ResultsRoot, run_id: str) -> RunManifest | None:
    """Return the manifest of a run, or None where it is not closed.

    Raises
    ------
    RunError
        The object is not a manifest.
    """
    data = results.get(layout.manifest_key(run_id))
    if data is None:
        return None
    try:
        return RunManifest.model_validate_json(data)
    except ValueError as error:
        uri = results.uri(layout.manifest_key(run_id))
        raise RunError(f"{uri}: expected the manifest of a run; got {error}") from error


def close_run(run: Run, *, runner: str, settled_here: int, films_here: int, seconds: float) -> RunManifest:
    """Count the stored rows of a run, check them against its plan, and write its manifest.

    Parameters
    ----------
    run : Run
    runner : str
    settled_here, films_here : int
        Chunks that this job settled, and films in them. An earlier, interrupted job may have settled the others.
    seconds : float
        Duration of the scoring.

    Raises
    ------
    RunError
        A chunk is not settled as planned.
    """
    chunks = run.chunks
    counted = tally(run.results, run.header.partition, chunks)
    header = run.header
    manifest = RunManifest(
        run_id=header.run_id,
        sources=header.sources,
        bundle_name=header.bundle_name,
        bundle_version=header.bundle_version,
        bundle_digest=header.bundle_digest,
        config=header.config,
        config_digest=header.config_digest,
        forward_batch=header.forward_batch,
        software_version=header.software_version,
        versions=software_versions.installed(),
        runner=runner,
        planned_at=header.planned_moment,
        closed_at=datetime.now(UTC),
        chunks=len(chunks),
        chunks_settled_here=settled_here,
        counts=RunCounts(
            listed=run.summary.listed,
            scored=counted.scored,
            rejected=counted.rejected,
            duplicate=run.summary.duplicate,
            settled_before=run.summary.settled,
        ),
        retryable=counted.retryable,
        reasons=dict(counted.reasons),
        seconds_scoring=round(seconds, 3),
        films_per_second=round(films_here / seconds, 3) if seconds > 0 else 0.0,
    )
    run.results.put(layout.manifest_key(header.run_id), manifest.model_dump_json(indent=2).encode())
    return manifest


def _outside(listed: Iterator[pa.RecordBatch], results: ResultsRoot) -> Iterator[pa.RecordBatch]:
    """Leave out objects of the results root, which may be inside the archive."""
    inside = f"{results.root}/"
    return (batch.filter(pc.invert(pc.starts_with(batch["uri"], inside))) for batch in listed)


def _ledger(results: ResultsRoot, header: PlanHeader) -> Callable[[DuckDBPyConnection], None]:
    """Return the function that fills the ledger for a plan."""
    return partial(
        fill_ledger,
        results=results,
        partition=header.partition,
        bundle_digest=header.bundle_digest,
        config_digest=header.config_digest,
    )


def _check_not_settled_since(run: Run) -> None:
    """Raise `StalePlanError` where another run has settled films of this plan: they would get a second row."""
    waiting = {chunk.chunk_id for chunk in run.unsettled()}
    films = films_of(run.results.uri(layout.plan_key(run.header.run_id)), waiting)
    count, first = count_settled_since(films, _ledger(run.results, run.header))
    if count:
        raise StalePlanError(
            f"run {run.header.run_id} cannot be resumed: another run has settled {count} of its films since "
            f"(first {first}); start a new run, which scores the others"
        )
