"""Check a results root from its stored files alone: every planned film has one outcome, every row has a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from cxr_schemas import PLAN, REJECTS, RunCounts, RunManifest
from cxr_schemas.scores import SCORES_VERSION, score_columns
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout, rows, verify_checks
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify_checks import IDENTITY, Plans, Problem, ProblemKind, Problems
from cxrlib.runs.plan import PlanHeader, read_plan
from cxrlib.runs.run import read_manifest

_VERSION_KEY: Final = b"cxr.schema_version"
#: Columns of a stored object, by kind and schema version.
_COLUMNS_OF: Final[dict[RowKind, dict[bytes | None, list[str]]]] = {
    RowKind.SCORES: {str(v).encode(): score_columns(v) for v in range(1, SCORES_VERSION + 1)},
    RowKind.REJECTS: {REJECTS.metadata[_VERSION_KEY]: REJECTS.names},
}
_CHECKED: Final = [*IDENTITY, "bundle_digest", "config_digest", "run_id"]


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Result of the check of a results root.

    Attributes
    ----------
    runs : int
        Closed runs.
    open_runs : tuple of str
        Runs that are planned and not closed. Their films need no outcome yet.
    listed, scored, rejected, duplicate, settled_before : int
        Summed over the closed runs, as counted from plans and rows.
    score_rows, reject_rows : int
        All stored rows, of open runs too.
    problems : tuple of Problem
        Empty where everything reconciles.
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
        """Whether everything reconciles."""
        return not self.problems


def verify(out: str) -> VerifyReport:
    """Check that the results root `out` is complete and consistent. Nothing is written.

    The checks are:

    - Each object is Parquet of a schema version that this software reads.
    - Each chunk of a closed run has a scores object and a rejects object.
    - Each film that a closed run scored, or found settled, has exactly one outcome that counts: a score, a final
      reject, or the retryable reject of that very try.
    - Each duplicate's original is in the plan.
    - Each row's film is in the plan of the row's run.
    - The counts equal those of the run's manifest.

    Parameters
    ----------
    out : str
        A folder or any fsspec URL, as given to ``cxr score --out``. It may be a compacted copy.

    Returns
    -------
    VerifyReport
        ``report.ok``, the counts, and the problems with examples.

    Raises
    ------
    UsageError
        `out` is not the address of a results root, or has no runs.
    RunError
        `out` is an incomplete copy.

    Examples
    --------
    `results` is a results root.

    >>> from cxrlib.results.verify import verify
    >>> report = verify(results)
    >>> report.ok
    True
    >>> report.listed == report.scored + report.rejected + report.duplicate + report.settled_before
    True
    """
    results = ResultsRoot.at(out)
    results.require_complete()
    if not results.runs():
        raise UsageError(f"expected a results root with a folder {layout.RUNS}; got none at {results.root}")
    problems = Problems()
    plans = dict(_plans(results, problems))
    manifests = dict(_manifests(results, plans, problems))
    stored = _with_planned_chunks(_rows(results, problems), plans)
    verify_checks.check_chunks(results, plans, manifests, stored, problems)
    verify_checks.check_rows_have_plans(stored, plans, problems)
    verify_checks.check_one_outcome(stored, problems)
    total = dict.fromkeys(RunCounts.model_fields, 0)
    for run_id, manifest in manifests.items():
        plan, header = plans[run_id]
        counts = verify_checks.check_run(plan, header, manifest, stored, problems)
        total = {name: value + total[name] for name, value in counts.items()}
    return VerifyReport(
        runs=len(manifests),
        open_runs=tuple(sorted(plans.keys() - manifests.keys())),
        **total,
        score_rows=verify_checks.count(stored, "kind", RowKind.SCORES.value),
        reject_rows=verify_checks.count(stored, "kind", RowKind.REJECTS.value),
        problems=problems.all(),
    )


def _plans(results: ResultsRoot, problems: Problems) -> Iterator[tuple[str, tuple[pa.Table, PlanHeader]]]:
    for run_id in results.runs():
        uri = results.uri(layout.plan_key(run_id))
        try:
            stored = read_plan(results, run_id)
        except RunError as error:
            problems.add(ProblemKind.UNREADABLE, [str(error)])
            continue
        if stored is None:
            problems.add(ProblemKind.UNREADABLE, [f"{uri}: there is no plan"])
            continue
        if _version(stored[0].schema) != _version(PLAN):
            problems.add(ProblemKind.WRONG_SCHEMA, [uri])
        yield run_id, stored


def _manifests(results: ResultsRoot, plans: Plans, problems: Problems) -> Iterator[tuple[str, RunManifest]]:
    for run_id in plans:
        try:
            manifest = read_manifest(results, run_id)
        except RunError as error:
            problems.add(ProblemKind.UNREADABLE, [str(error)])
            continue
        if manifest is not None:
            yield run_id, manifest


def _rows(results: ResultsRoot, problems: Problems) -> pa.Table:
    """Return identity, provenance, chunk and outcome of every row of the settled chunks."""
    text = [(name, pa.string()) for name in [*_CHECKED, "chunk_id", "kind"]]
    tables = [pa.schema([*text, ("retryable", pa.bool_()), ("attempt", pa.int16())]).empty_table()]
    for partition in results.partitions():
        scores, rejects = (rows.settled_chunks(results, kind, partition) for kind in RowKind)
        for chunk_id in sorted(set(scores) - set(rejects)):
            key = layout.chunk_key(RowKind.SCORES, partition, chunk_id)
            problems.add(ProblemKind.HALF_CHUNK, [results.uri(key)])
        for kind, chunk_ids in ((RowKind.SCORES, scores), (RowKind.REJECTS, rejects)):
            tables += _rows_of_kind(results, kind, partition, chunk_ids, problems)
    return pa.concat_tables(tables)


def _rows_of_kind(
    results: ResultsRoot, kind: RowKind, partition: str, chunk_ids: list[str], problems: Problems
) -> Iterator[pa.Table]:
    is_reject = kind is RowKind.REJECTS
    columns = [*_CHECKED, "retryable", "attempt"] if is_reject else _CHECKED
    wrong: set[str] = set()
    stored = rows.read_objects(
        results,
        kind,
        partition,
        chunk_ids,
        columns,
        on_unreadable=lambda error: problems.add(ProblemKind.UNREADABLE, [str(error)]),
    )
    for entry in stored:
        if entry.stored.names != _COLUMNS_OF[kind].get(_version(entry.stored)) and entry.chunk_id not in wrong:
            wrong.add(entry.chunk_id)
            uri = results.uri(layout.chunk_key(kind, partition, entry.chunk_id))
            problems.add(ProblemKind.WRONG_SCHEMA, [uri])
        chunk_id = None if layout.is_compacted(entry.chunk_id) else entry.chunk_id
        table = entry.table.select(_CHECKED)
        for name, values in (
            ("chunk_id", pa.repeat(pa.scalar(chunk_id, pa.string()), table.num_rows)),
            ("kind", pa.repeat(kind.value, table.num_rows)),
            ("retryable", entry.table["retryable"] if is_reject else pa.repeat(False, table.num_rows)),
            ("attempt", entry.table["attempt"] if is_reject else pa.repeat(pa.scalar(0, pa.int16()), table.num_rows)),
        ):
            table = table.append_column(name, values)
        yield pa.table({name: table[name] for name in table.column_names})  # without the stored nullability


def _with_planned_chunks(stored: pa.Table, plans: Plans) -> pa.Table:
    """Fill in the chunk of rows of compacted objects: the one that their run's plan names, null where it has none.

    The chunk of any other row is in the name of its object.
    """
    unknown = stored.filter(pc.is_null(stored["chunk_id"]))
    if not unknown.num_rows:
        return stored
    tables = [stored.filter(pc.is_valid(stored["chunk_id"]))]
    for run_id in pc.unique(unknown["run_id"]).to_pylist():
        of_run = unknown.filter(pc.equal(unknown["run_id"], run_id))
        if run_id in plans:
            of_run = of_run.drop_columns("chunk_id").join(verify_checks.planned(plans[run_id][0]), keys=IDENTITY)
        tables.append(of_run.select(stored.column_names))
    return pa.concat_tables(tables)


def _version(schema: pa.Schema) -> bytes | None:
    return (schema.metadata or {}).get(_VERSION_KEY)
