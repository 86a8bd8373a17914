"""Compare two bundles on the same films: which changed class or grade, and by how much the percentages differ.

Films are compared where both bundles scored the very same bytes (equal content digests). A film that was replaced
between the two is reported as changed and not compared. Percentages are compared as two methods of measurement are: by
their mean difference and the limits that contain 95 of 100 differences (Bland and Altman, Lancet 1986).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_schemas import Reason
from cxr_schemas.fields import field, versioned
from cxrlib.errors import RunError, UsageError
from cxrlib.results import rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.which_rows_count import fill_current_rows, register_run_ages
from cxrlib.runs.scratch_database import isolated_database

_COLUMNS: Final = ("content_digest", "class_label", "percent_infected", "grade")
_BATCH: Final = 65_536
#: 95 of 100 differences are within this many standard deviations of their mean.
_LIMITS: Final = 1.96


class Outcome(StrEnum):
    """What happened to a film under the two bundles."""

    COMPARED = "compared"
    CHANGED = "changed"  # its object was replaced in between
    REJECTED_NEW = "rejected_new"  # scored by the old bundle, rejected under the new
    REJECTED_OLD = "rejected_old"
    ONLY_OLD = "only_old"  # the new bundle never got it
    ONLY_NEW = "only_new"


#: One row per film, as `FilmComparisons.parquet` writes it.
COMPARISON: Final[pa.Schema] = versioned(
    "comparison",
    1,
    [
        field("uri", pa.string(), "fsspec URI of the source object."),
        field("outcome", pa.string(), "compared, changed, rejected_new, rejected_old, only_old or only_new."),
        field("reason", pa.string(), "Reason of the reject, where one bundle rejected the film.", nullable=True),
        field("class_old", pa.string(), "Class under the old bundle.", nullable=True),
        field("class_new", pa.string(), "Class under the new bundle.", nullable=True),
        field("percent_old", pa.float32(), "Percent infected under the old bundle.", unit="percent", nullable=True),
        field("percent_new", pa.float32(), "Percent infected under the new bundle.", unit="percent", nullable=True),
        field("difference", pa.float32(), "New minus old percent infected.", unit="percentage points", nullable=True),
        field("grade_old", pa.string(), "Grade under the old bundle.", nullable=True),
        field("grade_new", pa.string(), "Grade under the new bundle.", nullable=True),
    ],
)


@dataclass(frozen=True, slots=True)
class BundleRows:
    """Rows of one bundle in one results root; `partition` is ``<name>-<digest8>``."""

    results: ResultsRoot
    partition: str


@dataclass(frozen=True, slots=True)
class TransitionCount:
    """Number of compared films with one value under the old bundle and one under the new; None if it gives no value."""

    old: str | None
    new: str | None
    films: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """How many films one bundle rejected for a reason and the other scored; `by` is the one that rejected them."""

    by: Outcome
    reason: str
    films: int


@dataclass(frozen=True, slots=True)
class PercentChange:
    """One film whose percent infected changed, with the difference in percentage points."""

    uri: str
    old: float
    new: float
    difference: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of percent infected (Bland and Altman 1986), new minus old, in percentage points.

    Attributes
    ----------
    films : int
        Films with a percentage under both bundles.
    mean, spread : float or None
        Mean and sample standard deviation of the differences; None where there are too few films.
    lower, upper : float or None
        Limits of agreement: the mean -/+ 1.96 standard deviations.
    """

    films: int
    mean: float | None
    spread: float | None
    lower: float | None
    upper: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of two bundles on the same films.

    Attributes
    ----------
    old, new : str
        The bundles, ``<name>-<digest8>``.
    same_settings : bool
        Whether the rows of both were made under the same settings. If not, differences may come from the settings.
    outcomes : tuple of (Outcome, int)
        Number of films of each outcome; together all films that either bundle scored.
    classes, grades : tuple of TransitionCount
        Of the compared films, sorted by value.
    percent : Agreement
    most_changed : tuple of PercentChange
        Films with the largest differences.
    rejections : tuple of Rejection
        Films that one bundle scored and the other rejected.
    changed : tuple of str
        URIs of a few objects that were replaced.
    """

    old: str
    new: str
    same_settings: bool
    outcomes: tuple[tuple[Outcome, int], ...]
    classes: tuple[TransitionCount, ...]
    grades: tuple[TransitionCount, ...]
    percent: Agreement
    most_changed: tuple[PercentChange, ...]
    rejections: tuple[Rejection, ...]
    changed: tuple[str, ...]

    def count(self, outcome: Outcome) -> int:
        """Return the number of films with this outcome."""
        return dict(self.outcomes).get(outcome, 0)

    @property
    def class_changes(self) -> int:
        """Compared films whose class changed."""
        return sum(cell.films for cell in self.classes if cell.old != cell.new)


@dataclass(frozen=True, slots=True)
class FilmComparisons:
    """The comparison film by film, readable while the block of `open_comparison` runs."""

    _database: duckdb.DuckDBPyConnection

    def parquet(self) -> bytes:
        """Return all films as one Parquet file of schema `COMPARISON`, sorted by URI."""
        names = ", ".join(COMPARISON.names)
        reader = self._database.sql(f"select {names} from pairs order by uri").to_arrow_reader(_BATCH)  # noqa: S608
        with tempfile.TemporaryFile() as sink:
            with pq.ParquetWriter(sink, COMPARISON, compression="zstd") as writer:
                for batch in reader:
                    writer.write_table(pa.Table.from_batches([batch]).cast(COMPARISON))
            sink.seek(0)
            return sink.read()


@contextmanager
def open_comparison(
    old: BundleRows, new: BundleRows, *, only: str | None = None, most: int = 10
) -> Iterator[tuple[Comparison, FilmComparisons]]:
    """Compare two bundles by their rows that count (`cxrlib.results.which_rows_count`).

    Parameters
    ----------
    old, new : BundleRows
    only : str, optional
        URI of an inventory that this product wrote; only its films are compared.
    most : int
        Number of films in `most_changed`, and in `changed`.

    Raises
    ------
    UsageError
        Both sides are the same.
    RunError
        A stored object cannot be read, or a root is an incomplete copy.
    """
    if old == new:
        raise UsageError(f"expected two bundles to compare; got {old.partition} twice")
    with isolated_database() as database:
        settings = [_fill(database, name, side) for name, side in (("old", old), ("new", new))]
        if only is not None:
            _keep_only(database, only)
        database.execute(_PAIRS)
        yield _summary(database, old, new, settings[0] == settings[1], most), FilmComparisons(database)


#: The outcome of every film that either bundle scored. The replacement of an object shows as a different digest of its
#: content, or as a reject with the reason `changed`.
_PAIRS: Final = f"""
    create table pairs as with joined as (
        select coalesce(o.uri, n.uri) as uri, o.content_digest as content_old, n.content_digest as content_new,
            o.class_label as class_old, n.class_label as class_new,
            o.percent_infected as percent_old, n.percent_infected as percent_new,
            o.grade as grade_old, n.grade as grade_new
        from old_scores o full join new_scores n on o.uri = n.uri
    )
    select joined.uri,
        case
            when content_old = content_new then '{Outcome.COMPARED}'
            when content_old is not null and content_new is not null then '{Outcome.CHANGED}'
            when content_old is not null and rn.reason = '{Reason.CHANGED}' then '{Outcome.CHANGED}'
            when content_old is not null and rn.reason is not null then '{Outcome.REJECTED_NEW}'
            when content_old is not null then '{Outcome.ONLY_OLD}'
            when ro.reason is not null then '{Outcome.REJECTED_OLD}'
            else '{Outcome.ONLY_NEW}'
        end as outcome,
        case when content_old is null then ro.reason when content_new is null then rn.reason end as reason,
        class_old, class_new, percent_old, percent_new,
        case when content_old = content_new then percent_new - percent_old end as difference,
        grade_old, grade_new
    from joined left join old_rejects ro on ro.uri = joined.uri left join new_rejects rn on rn.uri = joined.uri
"""  # noqa: S608 - our own constants


def _fill(database: duckdb.DuckDBPyConnection, name: str, side: BundleRows) -> str | None:
    """Make the tables ``<name>_scores`` (rows that count) and ``<name>_rejects`` (newest reject of each URI).

    The newest reject is that of the newest run, by the age defined in `cxrlib.results.which_rows_count`.
    """
    side.results.require_complete()
    config = fill_current_rows(database, f"{name}_scores", side.results, side.partition, _COLUMNS)
    names = rows.settled_chunks(side.results, RowKind.REJECTS, side.partition)
    columns = ("uri", "reason", "attempt", "config_digest", "run_id")
    database.register("given", rows.batch_reader(side.results, RowKind.REJECTS, side.partition, names, columns))
    database.execute(
        "create temp table stored_rejects as select uri, reason, attempt, run_id from given "
        "where $config is null or config_digest = $config",
        {"config": config},
    )
    database.unregister("given")
    run_ids = database.execute("select distinct run_id from stored_rejects").fetchall()
    register_run_ages(database, side.results, [run_id for (run_id,) in run_ids])
    database.execute(
        f'create table "{name}_rejects" as select uri, arg_max(reason, row(age, attempt)) as reason '  # noqa: S608
        "from stored_rejects join run_ages using (run_id) group by uri"
    )
    database.unregister("run_ages")
    database.execute("drop table stored_rejects")
    return config


def _keep_only(database: duckdb.DuckDBPyConnection, inventory: str) -> None:
    try:
        with fsspec.open(inventory, "rb") as file:
            chosen = pq.ParquetFile(file).read(columns=["uri"])
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{inventory}: expected an inventory in Parquet; got {type(error).__name__}") from error
    database.register("chosen", chosen)
    for table in ("old_scores", "new_scores"):
        database.execute(f"delete from {table} where uri not in (select uri from chosen)")  # noqa: S608 - our own names
    database.unregister("chosen")


def _summary(
    database: duckdb.DuckDBPyConnection, old: BundleRows, new: BundleRows, same_settings: bool, most: int
) -> Comparison:
    def ask(query: str) -> list[tuple[Any, ...]]:
        return database.execute(query).fetchall()

    def transitions(old_column: str, new_column: str) -> tuple[TransitionCount, ...]:
        counts = ask(f"select {old_column}, {new_column}, count(*) {both} group by all order by all")
        return tuple(TransitionCount(*row) for row in counts)

    outcomes = dict(ask("select outcome, count(*) from pairs group by all"))
    both = f"from pairs where outcome = '{Outcome.COMPARED}'"
    by_change = f"order by abs(difference) desc, uri limit {most:d}"
    changes = ask(f"select uri, percent_old, percent_new, difference {both} and difference != 0 {by_change}")
    rejections = ask(
        "select outcome, reason, count(*) from pairs where outcome like 'rejected%' group by all order by all"
    )
    changed = ask(f"select uri from pairs where outcome = '{Outcome.CHANGED}' order by uri limit {most:d}")  # noqa: S608
    return Comparison(
        old=old.partition,
        new=new.partition,
        same_settings=same_settings,
        outcomes=tuple((outcome, outcomes.get(outcome.value, 0)) for outcome in Outcome),
        classes=transitions("class_old", "class_new"),
        grades=transitions("grade_old", "grade_new"),
        percent=_agreement(*ask(f"select count(difference), avg(difference), stddev_samp(difference) {both}")[0]),
        most_changed=tuple(PercentChange(uri, *(round(value, 4) for value in values)) for uri, *values in changes),
        rejections=tuple(Rejection(Outcome(by), reason, films) for by, reason, films in rejections),
        changed=tuple(uri for (uri,) in changed),
    )


def _agreement(films: int, mean: float | None, spread: float | None) -> Agreement:
    """Return the agreement, rounded so that it does not depend on the order in which a database adds numbers."""
    if mean is None or spread is None:
        return Agreement(films, None if mean is None else round(mean, 4), None, None, None)
    reach = _LIMITS * spread
    return Agreement(films, round(mean, 4), round(spread, 4), round(mean - reach, 4), round(mean + reach, 4))
