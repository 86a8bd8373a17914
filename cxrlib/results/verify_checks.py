"""The checks of `cxrlib.results.verify`, as functions of the plans, manifests and rows of a results root."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from cxr_schemas import Disposition, RunManifest
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.plan import PlanHeader, chunks_of

#: Columns that identify a film: two rows with the same values are outcomes of one film.
IDENTITY: Final = ["uri", "version"]
_EXAMPLES: Final = 5

#: The plan of each run, and its header.
Plans = dict[str, tuple[pa.Table, PlanHeader]]


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
    """A kind of problem, how often it occurs, and a few of the runs, objects or URIs that have it."""

    kind: ProblemKind
    count: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class Problems:
    """The problems found so far."""

    _counts: dict[ProblemKind, int] = field(default_factory=dict)
    _examples: dict[ProblemKind, list[str]] = field(default_factory=dict)

    def add(self, kind: ProblemKind, examples: Sequence[str], number: int | None = None) -> None:
        """Add `number` problems of one kind (one for each example by default)."""
        number = len(examples) if number is None else number
        if number:
            self._counts[kind] = self._counts.get(kind, 0) + number
            shown = self._examples.setdefault(kind, [])
            shown.extend(examples[: _EXAMPLES - len(shown)])

    def all(self) -> tuple[Problem, ...]:
        """Return all problems, sorted by kind."""
        return tuple(Problem(kind, self._counts[kind], tuple(self._examples[kind])) for kind in sorted(self._counts))


def planned(plan: pa.Table) -> pa.Table:
    """Return the films that a plan scores, and the chunk of each."""
    films = plan.select([*IDENTITY, "chunk_id"]).filter(pc.is_valid(plan["chunk_id"]))
    return films.set_column(2, "chunk_id", films["chunk_id"].cast(pa.string()))


def check_chunks(
    results: ResultsRoot, plans: Plans, manifests: dict[str, RunManifest], rows: pa.Table, problems: Problems
) -> None:
    """Check that each chunk of a closed run is stored, as an object or in the rows of a compacted one."""
    with_rows = frozenset(pc.unique(rows["chunk_id"]).to_pylist())
    stored = {partition: results.chunks(RowKind.SCORES, partition) | with_rows for partition in results.partitions()}
    for run_id in manifests:
        plan, header = plans[run_id]
        present = stored.get(header.partition, frozenset())
        missing = [chunk.chunk_id for chunk in chunks_of(plan) if chunk.chunk_id not in present]
        problems.add(ProblemKind.MISSING_CHUNK, [f"{run_id}: {chunk_id}" for chunk_id in missing])


def check_rows_have_plans(rows: pa.Table, plans: Plans, problems: Problems) -> None:
    """Check that the plan of each row's run has the film, in that chunk and under that bundle and configuration."""
    for run_id in pc.unique(rows["run_id"]).to_pylist():
        of_run = rows.filter(pc.equal(rows["run_id"], run_id))
        if run_id not in plans:
            problems.add(ProblemKind.NO_PLAN, _examples(of_run), of_run.num_rows)
            continue
        plan, header = plans[run_id]
        unplanned = of_run.join(planned(plan), keys=[*IDENTITY, "chunk_id"], join_type="left anti")
        problems.add(ProblemKind.NO_PLAN, _examples(unplanned), unplanned.num_rows)
        other = of_run.filter(pc.invert(_made_under(of_run, header)))
        problems.add(ProblemKind.NO_PLAN, _examples(other), other.num_rows)


def check_one_outcome(rows: pa.Table, problems: Problems) -> None:
    """Check that no film has two final outcomes under one bundle and one configuration."""
    final = rows.filter(pc.invert(rows["retryable"]))
    counts = final.group_by([*IDENTITY, "bundle_digest", "config_digest"]).aggregate([([], "count_all")])
    several = counts.filter(pc.greater(counts["count_all"], 1))
    problems.add(ProblemKind.SEVERAL_OUTCOMES, _examples(several), several.num_rows)


def check_run(
    plan: pa.Table, header: PlanHeader, manifest: RunManifest, rows: pa.Table, problems: Problems
) -> dict[str, int]:
    """Check one closed run; return its counts, named as in `cxr_schemas.RunCounts`, from its plan and the rows."""
    of_settings = rows.filter(_made_under(rows, header))
    disposition = plan["disposition"].cast(pa.string())
    films = plan.select([*IDENTITY, "chunk_id", "attempt"])
    films = films.set_column(2, "chunk_id", films["chunk_id"].cast(pa.string()))

    to_score = films.filter(pc.equal(disposition, Disposition.SCORE.value))
    outcomes = of_settings.select([*IDENTITY, "chunk_id", "kind"])
    got = to_score.join(outcomes, keys=[*IDENTITY, "chunk_id"], join_type="inner")
    lost = to_score.join(outcomes, keys=[*IDENTITY, "chunk_id"], join_type="left anti")
    problems.add(ProblemKind.NO_OUTCOME, _examples(lost), lost.num_rows)
    counts_of_film = got.group_by(IDENTITY).aggregate([([], "count_all")])
    repeated = counts_of_film.filter(pc.greater(counts_of_film["count_all"], 1))
    problems.add(ProblemKind.SEVERAL_OUTCOMES, _examples(repeated), repeated.num_rows)

    settled = films.filter(pc.equal(disposition, Disposition.SETTLED.value)).select(IDENTITY)
    final = of_settings.filter(pc.invert(of_settings["retryable"]))
    unsettled = settled.join(final, keys=IDENTITY, join_type="left anti")
    problems.add(ProblemKind.NO_OUTCOME, _examples(unsettled), unsettled.num_rows)

    duplicates = plan.filter(pc.equal(disposition, Disposition.DUPLICATE.value))
    named = duplicates.select(["duplicate_of_uri", "duplicate_of_version"]).rename_columns(IDENTITY)
    originals = films.filter(pc.not_equal(disposition, Disposition.DUPLICATE.value))
    orphans = named.join(originals, keys=IDENTITY, join_type="left anti")
    problems.add(ProblemKind.NO_ORIGINAL, _examples(orphans), orphans.num_rows)

    counts = {
        "listed": plan.num_rows,
        "scored": count(got, "kind", RowKind.SCORES.value),
        "rejected": count(got, "kind", RowKind.REJECTS.value),
        "duplicate": duplicates.num_rows,
        "settled_before": settled.num_rows,
    }
    stated = manifest.counts.model_dump()
    differing = [name for name in counts if stated[name] != counts[name]]
    problems.add(
        ProblemKind.COUNTS_DIFFER,
        [f"{header.run_id}: {name} {stated[name]} stated, {counts[name]} got" for name in differing],
    )
    return counts


def count(table: pa.Table, column: str, value: str) -> int:
    """Return the number of rows whose `column` has `value`."""
    return int(pc.sum(pc.equal(table[column], value)).as_py() or 0)


def _made_under(rows: pa.Table, header: PlanHeader) -> pa.ChunkedArray:
    """Return which rows were made under the bundle and the configuration of a plan."""
    return pc.and_(
        pc.equal(rows["bundle_digest"], header.bundle_digest), pc.equal(rows["config_digest"], header.config_digest)
    )


def _examples(table: pa.Table) -> list[str]:
    """Return the first URIs of a table of films, for a person to look at."""
    return sorted(table.slice(0, _EXAMPLES)["uri"].to_pylist())
