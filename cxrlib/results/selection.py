"""Select scored films of a results root by the values in their rows, as the source of another run.

A selection is an inventory (`cxr_schemas.backfill_manifest.INVENTORY`) with the version that each row was made from. So
a film whose object was replaced since is not read as if it were the old one: it is rejected as ``changed``.
"""

from __future__ import annotations

import calendar
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_schemas import SCORES, FilmClass, Grade
from cxr_schemas.backfill_manifest import INVENTORY
from cxrlib.archive.listing import INVENTORY_PREFIX
from cxrlib.errors import RunError, UsageError
from cxrlib.results import cohort, layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.which_rows_count import fill_current_rows
from cxrlib.runs.scratch_database import isolated_database

#: Columns that a condition may use: all but masks and maps.
SEARCHABLE: Final = tuple(
    name for name in SCORES.names if name not in ("lung_rle", "infection_rle", "localisation_map")
)
_ROOT_KEY: Final = b"cxr.selection.root"
_BUNDLE_KEY: Final = b"cxr.selection.bundle"


@dataclass(frozen=True, slots=True)
class Criteria:
    """Conditions on the rows of films. A film is selected if it meets all that are given.

    Attributes
    ----------
    classes : tuple of FilmClass
    grades : tuple of Grade
    months : tuple of str
        Study months as ``YYYY-MM``, or whole years as ``YYYY``.
    where : str or None
        A condition in DuckDB's SQL on columns of the score rows, such as ``percent_infected > 10 and view = 'AP'``.
    limit : int or None
        Largest number of films; the newest studies are preferred.
    """

    classes: tuple[FilmClass, ...] = ()
    grades: tuple[Grade, ...] = ()
    months: tuple[str, ...] = ()
    where: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """A stored selection: results root and partition (``<name>-<digest8>``) of the rows, URI, films."""

    root: str
    partition: str
    uri: str
    films: int

    @property
    def source(self) -> str:
        """The selection as a source of a run."""
        return f"{INVENTORY_PREFIX}{self.uri}"


def require_one_partition(results: ResultsRoot, bundle: str | None) -> str:
    """Return the only stored bundle, or the only one that matches `bundle`, as ``<name>-<digest8>``.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    partitions = cohort.stored_partitions(results, bundle)
    if len(partitions) > 1:
        raise UsageError(f"{results.root} has rows of several bundles: give one of {', '.join(partitions)}")
    return partitions[0]


def select(results: ResultsRoot, partition: str, criteria: Criteria) -> pa.Table:
    """Return the films of `partition` whose rows count and meet `criteria`, as an inventory, sorted by URI.

    Raises
    ------
    UsageError
        No film meets the criteria, or a criterion is not valid.
    """
    conditions, values = _conditions(criteria)
    limit = "" if criteria.limit is None else f"limit {criteria.limit:d}"
    with isolated_database() as database:
        fill_current_rows(database, "films", results, partition, SEARCHABLE)
        # The condition is the user's SQL. It is safe to run: this database can reach nothing but the rows.
        query = f"""
            select * from (
                select uri, version as version_token, null::bigint as size from films where {conditions}
                order by study_date desc nulls last, uri {limit}
            ) order by uri
        """  # noqa: S608
        try:
            chosen = database.sql(query, params=values).to_arrow_table()
        except duckdb.Error as error:
            got = str(error).strip().partition("\n")[0]
            raise UsageError(f"expected a condition on columns of the score rows; got {got}") from error
    if not chosen.num_rows:
        raise UsageError(f"no scored film of {partition} at {results.root} meets the criteria")
    return chosen.cast(INVENTORY)


def write_selection(
    films: pa.Table, *, source: ResultsRoot, partition: str, out: ResultsRoot, run_id: str
) -> Selection:
    """Store a selection for the run `run_id` in `out`, which may be another root than that of the rows."""
    key = layout.selection_key(run_id)
    metadata = {**films.schema.metadata, _ROOT_KEY: source.root.encode(), _BUNDLE_KEY: partition.encode()}
    sink = io.BytesIO()
    pq.write_table(films.replace_schema_metadata(metadata), sink, compression="zstd")
    out.put(key, sink.getvalue())
    return Selection(source.root, partition, out.uri(key), films.num_rows)


def read_selection(out: ResultsRoot, run_id: str) -> Selection:
    """Return the selection of the run `run_id`.

    Raises
    ------
    UsageError
        The run has no selection.
    RunError
        The stored object is not a selection.
    """
    data = out.get(layout.selection_key(run_id))
    if data is None:
        raise UsageError(f"the run {run_id} in {out.root} was not started by `cxr rescore`: it has no selection")
    try:
        stored = pq.ParquetFile(io.BytesIO(data))
        metadata = stored.schema_arrow.metadata
        root, partition = (metadata[key].decode() for key in (_ROOT_KEY, _BUNDLE_KEY))
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise RunError(
            f"{out.uri(layout.selection_key(run_id))}: expected a selection; got {type(error).__name__}"
        ) from error
    return Selection(root, partition, out.uri(layout.selection_key(run_id)), stored.metadata.num_rows)


def _conditions(criteria: Criteria) -> tuple[str, dict[str, Any]]:
    """Return the criteria as one SQL condition, and the values of its parameters."""
    parts: list[str] = ["true"]
    values: dict[str, Any] = {}
    for column, wanted in (("class_label", criteria.classes), ("grade", criteria.grades)):
        if wanted:
            parts.append(f"{column} in (select unnest(${column}))")
            values[column] = [value.value for value in wanted]
    if criteria.months:
        spans = list(_spans(criteria.months))
        parts.append("(" + " or ".join(f"study_date between date '{a}' and date '{b}'" for a, b in spans) + ")")
    if criteria.where is not None:
        parts.append(f"({criteria.where}\n)")
    return " and ".join(parts), values


def _spans(months: tuple[str, ...]) -> Iterator[tuple[date, date]]:
    """Yield the first and the last day of each month or year."""
    for text in months:
        try:
            year, _, month = text.partition("-")
            first = date(int(year), int(month or 1), 1)
            last_month = first.month if month else 12
            yield first, date(first.year, last_month, calendar.monthrange(first.year, last_month)[1])
        except ValueError as error:
            raise UsageError(f"expected a month as YYYY-MM, or a year as YYYY; got {text!r}") from error
