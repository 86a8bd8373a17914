"""Check a results root from its stored files alone: every planned film has one outcome, every row has a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxr_schemas import PLAN, REJECTS, Counts, Disposition, Manifest
from cxr_schemas.scores import SCORES_VERSION, score_columns
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout
from cxrlib.results.layout import COMPACT, RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.ledger import read_columns
from cxrlib.runs.plan import PlanHeader, chunks_of, read_plan
from cxrlib.runs.run import read_manifest

_EXAMPLES: Final = 5
_VERSION_KEY: Final = b"cxr.schema_version"
#: Columns of what is stored, by kind and by the schema versions that are read.
_COLUMNS_OF: Final[dict[RowKind, dict[bytes | None, list[str]]]] = {
    RowKind.SCORES: {str(v).encode(): score_columns(v) for v in range(1, SCORES_VERSION + 1)},
    RowKind.REJECTS: {REJECTS.metadata[_VERSION_KEY]: REJECTS.names},
}
_IDENTITY: Final = ["uri", "version"]
_COLUMNS: Final = [*_IDENTITY, "bundle_digest", "config_digest", "run_id"]


class ProblemKind(StrEnum):
    """What can be wrong with a results root."""

    UNREADABLE = "unreadable"
    WRONG_SCHEMA = "wrong_schema"
    MISSING_CHUNK = "missing_chunk"
    HALF_CHUNK = "half_chunk"
    NO_OUTCOME = "no_outcome"
    SEVERAL_OUTCOMES = "several_outcomes"
    NO_PLAN = "no_plan"
    NO_ORIGINAL = "no_original"
    COUNTS_DIFFER = "counts_differ"


@dataclass(frozen=True, slots=True)
class Problem:
    """A kind of problem, how often it was met, and a few of the runs, objects or uris where."""

    kind: ProblemKind
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check of a results root found.

    Attributes
    ----------
    runs : int
        Closed runs.
    open_runs : tuple of str
        Runs that were planned and not closed; of what they left undone nothing is expected.
    listed, scored, rejected, duplicate, settled_before : int
        Summed over the closed runs, as counted from plans and rows.
    score_rows, reject_rows : int
        Rows stored in all, whichever run they are of.
    problems : tuple of Problem
        Empty where all reconciles.
    """

    runs: int
    open_runs: tuple[str, ...]
    listed: int
    scored: int
    rejected: int
    duplicate: int
    settled_before: int
    score_rows: int
    reject_rows: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether all reconciles."""
        return not self.problems


@dataclass(slots=True)
class _Findings:
    counts: dict[ProblemKind, int] = field(default_factory=dict)
    examples: dict[ProblemKind, list[str]] = field(default_factory=dict)

    def add(self, kind: ProblemKind, examples: Sequence[str], count: int | None = None) -> None:
        number = len(examples) if count is None else count
        if number:
            self.counts[kind] = self.counts.get(kind, 0) + number
            shown = self.examples.setdefault(kind, [])
            shown.extend(examples[: _EXAMPLES - len(shown)])

    def problems(self) -> tuple[Problem, ...]:
        return tuple(Problem(kind, self.counts[kind], tuple(self.examples[kind])) for kind in sorted(self.counts))


def verify(out: str) -> VerifyReport:
    """Check the results root `out`.

    A row's chunk is told by the name of its object; in a compacted root (`cxrlib.results.compact`) by the plan of
    its run, which has the film once.

    Checked are: each object is Parquet of a schema version that is read; each chunk of a closed run has both its
    objects; each film that a closed run planned to score, or took for settled, has exactly one outcome that counts (a
    score, a final reject, or the reject of that very try); each duplicate's original is in the plan; each row's film
    is in the plan of the run it names; and the counts equal those of the manifest.

    Raises
    ------
    UsageError
        `out` is no address of a results root, or no run was ever planned there.
    RunError
        `out` is an unfinished copy.
    """
    results = ResultsRoot.at(out)
    results.require_complete()
    if not results.runs():
        raise UsageError(f"expected a results root with a folder _runs; got none at {results.root}")
    found = _Findings()
    plans = dict(_plans(results, found))
    manifests = dict(_manifests(results, plans, found))
    rows = _told_chunks(_rows(results, found), plans)
    _check_chunks(results, plans, manifests, rows, found)
    _check_rows_have_plans(rows, plans, found)
    _check_one_score(rows, found)
    total = dict.fromkeys(Counts.model_fields, 0)
    for run_id, manifest in manifests.items():
        plan, header = plans[run_id]
        counts = _check_run(plan, header, manifest, rows, found)
        total = {name: value + total[name] for name, value in counts.items()}
    return VerifyReport(
        runs=len(manifests),
        open_runs=tuple(sorted(plans.keys() - manifests.keys())),
        **total,
        score_rows=_count(rows, "kind", RowKind.SCORES.value),
        reject_rows=_count(rows, "kind", RowKind.REJECTS.value),
        problems=found.problems(),
    )


_Plans = dict[str, tuple[pa.Table, PlanHeader]]


def _plans(results: ResultsRoot, found: _Findings) -> Iterator[tuple[str, tuple[pa.Table, PlanHeader]]]:
    for run_id in results.runs():
        uri = results.uri(layout.plan_key(run_id))
        try:
            stored = read_plan(results, run_id)
        except RunError as error:
            found.add(ProblemKind.UNREADABLE, [str(error)])
            continue
        if stored is None:
            found.add(ProblemKind.UNREADABLE, [f"{uri}: there is no plan"])
            continue
        if _version(stored[0].schema) != _version(PLAN):
            found.add(ProblemKind.WRONG_SCHEMA, [uri])
        yield run_id, stored


def _manifests(results: ResultsRoot, plans: _Plans, found: _Findings) -> Iterator[tuple[str, Manifest]]:
    for run_id in plans:
        try:
            manifest = read_manifest(results, run_id)
        except RunError as error:
            found.add(ProblemKind.UNREADABLE, [str(error)])
            continue
        if manifest is not None:
            yield run_id, manifest


def _rows(results: ResultsRoot, found: _Findings) -> pa.Table:
    """Return identity, provenance and outcome of every row of a settled chunk."""
    tables = [_as_rows(_empty(), RowKind.SCORES, "")]
    for partition in results.partitions():
        scores, rejects = (results.chunks(kind, partition) for kind in (RowKind.SCORES, RowKind.REJECTS))
        for chunk_id in sorted(scores - rejects):
            found.add(ProblemKind.HALF_CHUNK, [results.uri(layout.chunk_key(RowKind.SCORES, partition, chunk_id))])
        for chunk_id in sorted(scores):
            for kind in RowKind:
                if kind is RowKind.REJECTS and chunk_id not in rejects:
                    continue
                uri = results.uri(layout.chunk_key(kind, partition, chunk_id))
                extra = ["retryable", "attempt"] if kind is RowKind.REJECTS else []
                try:
                    table = read_columns(results, kind, partition, chunk_id, [*_COLUMNS, *extra])
                    with fsspec.open(uri, "rb") as file:
                        schema = pq.read_schema(file)
                except RunError as error:
                    found.add(ProblemKind.UNREADABLE, [str(error)])
                    continue
                if schema.names != _COLUMNS_OF[kind].get(_version(schema)):
                    found.add(ProblemKind.WRONG_SCHEMA, [uri])
                tables.append(_as_rows(table, kind, None if chunk_id.startswith(COMPACT) else chunk_id))
    return pa.concat_tables(tables)


def _told_chunks(rows: pa.Table, plans: _Plans) -> pa.Table:
    """Give rows of compacted objects the chunk in which their run planned the film; null where it did not."""
    untold = rows.filter(pc.is_null(rows["chunk_id"]))
    if not untold.num_rows:
        return rows
    told = [rows.filter(pc.is_valid(rows["chunk_id"]))]
    for run_id in pc.unique(untold["run_id"]).to_pylist():
        of_run = untold.filter(pc.equal(untold["run_id"], run_id))
        if run_id in plans:
            of_run = of_run.drop_columns("chunk_id").join(_planned(plans[run_id][0]), keys=_IDENTITY)
        told.append(of_run.select(rows.column_names))
    return pa.concat_tables(told)


def _planned(plan: pa.Table) -> pa.Table:
    """Return the films that a plan has scored, and the chunk of each."""
    planned = plan.select([*_IDENTITY, "chunk_id"]).filter(pc.is_valid(plan["chunk_id"]))
    return planned.set_column(2, "chunk_id", planned["chunk_id"].cast(pa.string()))


def _empty() -> pa.Table:
    return pa.table({name: pa.array([], pa.string()) for name in _COLUMNS})


def _as_rows(table: pa.Table, kind: RowKind, chunk_id: str | None) -> pa.Table:
    count = table.num_rows
    is_score = kind is RowKind.SCORES
    columns = {name: table[name] for name in _COLUMNS}
    columns["chunk_id"] = pa.repeat(pa.scalar(chunk_id, pa.string()), count)
    columns["kind"] = pa.repeat(kind.value, count)
    columns["retryable"] = pa.repeat(False, count) if is_score else table["retryable"]
    columns["attempt"] = pa.repeat(pa.scalar(0, pa.int16()), count) if is_score else table["attempt"]
    return pa.table(columns)


def _version(schema: pa.Schema) -> bytes | None:
    return (schema.metadata or {}).get(_VERSION_KEY)


def _check_chunks(
    results: ResultsRoot, plans: _Plans, manifests: dict[str, Manifest], rows: pa.Table, found: _Findings
) -> None:
    with_rows = frozenset(pc.unique(rows["chunk_id"]).to_pylist())
    stored = {partition: results.chunks(RowKind.SCORES, partition) | with_rows for partition in results.partitions()}
    for run_id in manifests:
        plan, header = plans[run_id]
        there = stored.get(header.partition, frozenset())
        missing = [chunk.chunk_id for chunk in chunks_of(plan) if chunk.chunk_id not in there]
        found.add(ProblemKind.MISSING_CHUNK, [f"{run_id}: {chunk_id}" for chunk_id in missing])


def _check_rows_have_plans(rows: pa.Table, plans: _Plans, found: _Findings) -> None:
    for run_id in pc.unique(rows["run_id"]).to_pylist():
        of_run = rows.filter(pc.equal(rows["run_id"], run_id))
        if run_id not in plans:
            found.add(ProblemKind.NO_PLAN, _names(of_run), of_run.num_rows)
            continue
        plan, header = plans[run_id]
        strange = of_run.join(_planned(plan), keys=[*_IDENTITY, "chunk_id"], join_type="left anti")
        found.add(ProblemKind.NO_PLAN, _names(strange), strange.num_rows)
        own = pc.and_(
            pc.equal(of_run["bundle_digest"], header.bundle_digest),
            pc.equal(of_run["config_digest"], header.config_digest),
        )
        other = of_run.filter(pc.invert(own))
        found.add(ProblemKind.NO_PLAN, _names(other), other.num_rows)


def _check_one_score(rows: pa.Table, found: _Findings) -> None:
    """No film has two rows that count under one bundle and one configuration."""
    final = rows.filter(pc.invert(rows["retryable"]))
    counts = final.group_by([*_IDENTITY, "bundle_digest", "config_digest"]).aggregate([([], "count_all")])
    several = counts.filter(pc.greater(counts["count_all"], 1))
    found.add(ProblemKind.SEVERAL_OUTCOMES, _names(several), several.num_rows)


def _check_run(
    plan: pa.Table, header: PlanHeader, manifest: Manifest, rows: pa.Table, found: _Findings
) -> dict[str, int]:
    """Check one closed run and return its counts, as the plan and the rows have them."""
    mine = rows.filter(
        pc.and_(
            pc.equal(rows["bundle_digest"], header.bundle_digest), pc.equal(rows["config_digest"], header.config_digest)
        )
    )
    disposition = plan["disposition"].cast(pa.string())
    planned = plan.select([*_IDENTITY, "chunk_id", "attempt"])
    planned = planned.set_column(2, "chunk_id", planned["chunk_id"].cast(pa.string()))
    to_score = planned.filter(pc.equal(disposition, Disposition.SCORE.value))
    outcomes = mine.select([*_IDENTITY, "chunk_id", "kind"])
    got = to_score.join(outcomes, keys=[*_IDENTITY, "chunk_id"], join_type="inner")
    lost = to_score.join(outcomes, keys=[*_IDENTITY, "chunk_id"], join_type="left anti")
    found.add(ProblemKind.NO_OUTCOME, _names(lost), lost.num_rows)
    again = got.group_by(_IDENTITY).aggregate([([], "count_all")])
    again = again.filter(pc.greater(again["count_all"], 1))
    found.add(ProblemKind.SEVERAL_OUTCOMES, _names(again), again.num_rows)
    settled = planned.filter(pc.equal(disposition, Disposition.SETTLED.value)).select(_IDENTITY)
    forgotten = settled.join(mine.filter(pc.invert(mine["retryable"])), keys=_IDENTITY, join_type="left anti")
    found.add(ProblemKind.NO_OUTCOME, _names(forgotten), forgotten.num_rows)
    copies = plan.filter(pc.equal(disposition, Disposition.DUPLICATE.value))
    named = copies.select(["duplicate_of_uri", "duplicate_of_version"]).rename_columns(_IDENTITY)
    originals = planned.filter(pc.not_equal(disposition, Disposition.DUPLICATE.value))
    orphans = named.join(originals, keys=_IDENTITY, join_type="left anti")
    found.add(ProblemKind.NO_ORIGINAL, _names(orphans), orphans.num_rows)
    counts = {
        "listed": plan.num_rows,
        "scored": _count(got, "kind", RowKind.SCORES.value),
        "rejected": _count(got, "kind", RowKind.REJECTS.value),
        "duplicate": copies.num_rows,
        "settled_before": settled.num_rows,
    }
    stated = manifest.counts.model_dump()
    differing = [f"{header.run_id}: {name} {stated[name]} stated, {counts[name]} got" for name in counts]
    found.add(
        ProblemKind.COUNTS_DIFFER,
        [text for text, name in zip(differing, counts, strict=True) if stated[name] != counts[name]],
    )
    return counts


def _count(table: pa.Table, column: str, value: str) -> int:
    return int(pc.sum(pc.equal(table[column], value)).as_py() or 0)


def _names(table: pa.Table) -> list[str]:
    """Return the first uris of a table of films, for a person to look at."""
    return sorted(table.slice(0, _EXAMPLES)["uri"].to_pylist())
