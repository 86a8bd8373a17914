"""Report what a results root holds: runs, backfills, scored study months of each bundle, and rejects.

Everything is counted from the stored files, on any store, and agrees with `cxrlib.results.verify`. Rows are read as a
stream of a few columns, object by object, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from cxr_schemas import RunCounts, RunManifest
from cxrlib.backfills.stored import PartStage, list_backfills, part_run, part_states, read_backfill
from cxrlib.errors import UsageError
from cxrlib.results import layout
from cxrlib.results import rows as stored_rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease_chain
from cxrlib.runs.plan import PlanHeader, PlanSummary, read_plan_summary
from cxrlib.runs.process_identity import is_alive
from cxrlib.runs.run import read_manifest

_COVERED: Final = ("study_date", "run_id", "bundle_digest", "config_digest")
_REJECTED: Final = ("run_id", "reason", "retryable")
_TRIED: Final = ("uri", "version", "bundle_digest", "config_digest")


class RunState(StrEnum):
    """State of a run."""

    SETTLED = "settled"  # closed: it has a manifest
    HELD = "held"  # not closed, and a process holds its lease
    OPEN = "open"  # not closed, and no process works on it: it can be resumed


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lease, and when it last renewed it by its own clock.

    `alive` is None where the process is on another machine.
    """

    run_id: str
    host: str
    pid: int
    renewed_at: datetime
    alive: bool | None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run.

    Attributes
    ----------
    run_id : str
    state : RunState
    planned_at, closed_at : datetime or None
        None where there is no plan, or the run is not closed.
    bundle : str
        ``<name>-<digest8>``, the name of its partition.
    config_digest : str
    listed, scored, rejected, duplicate, settled_before : int
        `scored` and `rejected` are counted from the rows of the run, the others come from its plan.
    left : int
        Films that are still to be scored.
    retryable : int
        Retryable rejects among the rejected films.
    films_per_second : float or None
        From its manifest.
    agrees : bool
        Whether the rows are as many as the manifest states. If not, `cxr verify` shows what is wrong.
    backfill, part : str or None
        The backfill and the part that the run belongs to.
    """

    run_id: str
    state: RunState
    planned_at: datetime | None
    closed_at: datetime | None
    bundle: str
    config_digest: str
    listed: int
    scored: int
    rejected: int
    duplicate: int
    settled_before: int
    left: int
    retryable: int
    films_per_second: float | None
    agrees: bool
    backfill: str | None
    part: str | None


@dataclass(frozen=True, slots=True)
class BackfillStatus:
    """One backfill: parts by state, parts whose last try failed, and objects in all parts and in those done."""

    backfill_id: str
    parts: Mapping[str, int]
    failed: int
    objects: int
    settled: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Number of score rows of one study month, bundle and configuration.

    `month` is the first day of the month, or None where the study date is unknown.
    """

    month: date | None
    bundle: str
    config_digest: str
    films: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Reject rows of one bundle and reason.

    Attributes
    ----------
    rows : int
        Stored rows; an object that was tried three times has three.
    waiting : int
        Objects that the next run tries again, because their newest outcome is this reject.
    """

    bundle: str
    reason: str
    rows: int
    waiting: int


@dataclass(frozen=True, slots=True)
class RootStatus:
    """Status of a results root. `score_rows` and `reject_rows` are all rows of settled chunks, as in `cxr verify`."""

    root: str
    runs: tuple[RunStatus, ...]
    backfills: tuple[BackfillStatus, ...]
    holders: tuple[Holder, ...]
    coverage: tuple[Coverage, ...]
    rejects: tuple[Rejected, ...]
    score_rows: int
    reject_rows: int

    @property
    def waiting(self) -> int:
        """Objects that the next run tries again."""
        return sum(reject.waiting for reject in self.rejects)


def status(uri: str) -> RootStatus:
    """Return the status of the results root `uri`. A run may write to it at the same time.

    Raises
    ------
    UsageError
        The root has no runs.
    RunError
        A stored object cannot be read, or the root is an incomplete copy.
    """
    results = ResultsRoot.at(uri)
    results.require_complete()
    run_ids = results.runs()
    if not run_ids:
        raise UsageError(f"expected a results root with a folder {layout.RUNS}; got none at {results.root}")
    holders = tuple(_holders(results))
    rows = _Rows()
    for partition in results.partitions():
        rows.add(results, partition)
    runs = [_run(results, run_id, rows, {holder.run_id for holder in holders}) for run_id in run_ids]
    return RootStatus(
        root=results.root,
        runs=tuple(sorted(runs, key=lambda run: (run.planned_at.isoformat() if run.planned_at else "", run.run_id))),
        backfills=tuple(_backfills(results)),
        holders=holders,
        coverage=tuple(rows.coverage()),
        rejects=tuple(rows.rejects()),
        score_rows=sum(rows.scored.values()),
        reject_rows=sum(rows.rejected.values()),
    )


class _Rows:
    """Counts of stored rows, added up partition by partition."""

    def __init__(self) -> None:
        self.scored: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.retryable: Counter[str] = Counter()
        self._months: Counter[tuple[str, str, date | None]] = Counter()
        self._reasons: Counter[tuple[str, str]] = Counter()
        self._waiting: Counter[tuple[str, str]] = Counter()

    def add(self, results: ResultsRoot, partition: str) -> None:
        scores = stored_rows.settled_chunks(results, RowKind.SCORES, partition)
        for table in stored_rows.read_tables(results, RowKind.SCORES, partition, scores, _COVERED):
            for run_id, config, month, count in _grouped(_by_month(table)):
                self.scored[run_id] += count
                self._months[partition, config, month] += count
        rejects = stored_rows.settled_chunks(results, RowKind.REJECTS, partition)
        for table in stored_rows.read_tables(results, RowKind.REJECTS, partition, rejects, _REJECTED):
            for run_id, reason, retryable, count in _grouped(table):
                self.rejected[run_id] += count
                self.retryable[run_id] += count * retryable
                self._reasons[partition, reason] += count
        for reason, count in _tried_again(results, partition, scores, rejects).items():
            self._waiting[partition, reason] += count

    def coverage(self) -> Iterator[Coverage]:
        order = sorted(self._months, key=lambda key: (key[2] is None, key[2] or date.min, *key[:2]))
        return (Coverage(month, bundle, config, self._months[bundle, config, month]) for bundle, config, month in order)

    def rejects(self) -> Iterator[Rejected]:
        order = sorted(self._reasons, key=lambda key: (key[0], -self._reasons[key], key[1]))
        return (Rejected(*key, self._reasons[key], self._waiting[key]) for key in order)


def _by_month(table: pa.Table) -> pa.Table:
    month = pc.floor_temporal(table["study_date"], unit="month").cast(pa.date32())
    return pa.table({"run_id": table["run_id"], "config_digest": table["config_digest"], "month": month})


def _grouped(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Yield each combination of values that the table's rows have, and its count."""
    counts = table.group_by(table.column_names).aggregate([([], "count_all")])
    return zip(*(counts[name].to_pylist() for name in [*table.column_names, "count_all"]), strict=True)


def _tried_again(results: ResultsRoot, partition: str, scores: Sequence[str], rejects: Sequence[str]) -> Counter[str]:
    """Return, by reason, the number of objects that have retryable rejects and no final outcome.

    Only objects with a retryable reject are held in memory.
    """
    tried: dict[tuple[str, ...], tuple[int, str]] = {}
    columns = [*_TRIED, "reason", "retryable", "attempt"]
    for table in stored_rows.read_tables(results, RowKind.REJECTS, partition, rejects, columns):
        for row in table.filter(table["retryable"]).to_pylist():
            key = tuple(row[name] for name in _TRIED)
            tried[key] = max((row["attempt"], row["reason"]), tried.get(key, (0, "")))
    if not tried:
        return Counter()
    uris = pa.array(sorted({key[0] for key in tried}), pa.string())
    for kind, names in ((RowKind.SCORES, scores), (RowKind.REJECTS, rejects)):
        final = [*_TRIED] if kind is RowKind.SCORES else [*_TRIED, "retryable"]
        for table in stored_rows.read_tables(results, kind, partition, names, final):
            got = table.filter(pc.is_in(table["uri"], value_set=uris))
            for row in got.to_pylist():
                if not row.get("retryable", False):
                    tried.pop(tuple(row[name] for name in _TRIED), None)
    return Counter(reason for _, reason in tried.values())


def _run(results: ResultsRoot, run_id: str, rows: _Rows, held: set[str]) -> RunStatus:
    manifest = read_manifest(results, run_id)
    planned = read_plan_summary(results, run_id)
    part = part_run(run_id)
    scored, rejected = rows.scored[run_id], rows.rejected[run_id]
    lease_ids = {run_id} if part is None else {run_id, part.backfill_id}
    counts = _counts(manifest, planned)
    record = manifest or (planned[1] if planned else None)
    return RunStatus(
        run_id=run_id,
        state=RunState.SETTLED if manifest else RunState.HELD if held & lease_ids else RunState.OPEN,
        planned_at=None if planned is None else planned[1].planned_moment,
        closed_at=None if manifest is None else manifest.closed_at,
        bundle="" if record is None else layout.partition_name(record.bundle_name, record.bundle_digest),
        config_digest="" if record is None else record.config_digest,
        listed=counts.listed,
        scored=scored,
        rejected=rejected,
        duplicate=counts.duplicate,
        settled_before=counts.settled_before,
        left=max(0, counts.scored + counts.rejected - scored - rejected),
        retryable=rows.retryable[run_id],
        films_per_second=None if manifest is None else manifest.films_per_second,
        agrees=manifest is None or (scored, rejected) == (manifest.counts.scored, manifest.counts.rejected),
        backfill=None if part is None else part.backfill_id,
        part=None if part is None else part.part,
    )


def _counts(manifest: RunManifest | None, planned: tuple[PlanSummary, PlanHeader] | None) -> RunCounts:
    """Return the counts of a run. For a run that is not closed, all its films count as scored."""
    if manifest is not None:
        return manifest.counts
    if planned is None:
        return RunCounts(listed=0, scored=0, rejected=0, duplicate=0, settled_before=0)
    plan = planned[0]
    return RunCounts(
        listed=plan.listed, scored=plan.films, rejected=0, duplicate=plan.duplicate, settled_before=plan.settled
    )


def _holders(results: ResultsRoot) -> Iterator[Holder]:
    for scope in lease_chain.scopes(results):
        for claim in lease_chain.current_claims(results, scope):
            if lease_chain.is_held(claim):
                record = claim.record
                alive = is_alive(record.process)
                yield Holder(record.run_id, record.host, record.process.pid, record.renewed_at, alive)


def _backfills(results: ResultsRoot) -> Iterator[BackfillStatus]:
    for backfill_id in list_backfills(results):
        manifest = read_backfill(results, backfill_id)
        if manifest is None:  # still being created
            yield BackfillStatus(backfill_id, {}, 0, 0, 0)
            continue
        states = part_states(results, manifest)
        stages = Counter(state.stage.value for state in states)
        yield BackfillStatus(
            backfill_id,
            parts={stage.value: stages[stage.value] for stage in PartStage},
            failed=sum(state.failure is not None for state in states),
            objects=manifest.objects,
            settled=sum(state.entry.objects for state in states if state.stage is PartStage.DONE),
        )
