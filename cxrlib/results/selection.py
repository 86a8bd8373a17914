"""Films of a results root that were scored already, chosen by what their rows say, as the source of a further run.

A selection is an inventory (`cxr_schemas.backfill_manifest.INVENTORY`) with the version that each row was made of. So a film whose
object was replaced since is not silently read as if it were the old one: it is rejected as ``changed``.
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

#: Columns that an expression may ask about: all but drawings and maps.
SEARCHABLE: Final = tuple(
    name for name in SCORES.names if name not in ("lung_rle", "infection_rle", "localisation_map")
)
_ROOT_KEY: Final = b"cxr.selection.root"
_BUNDLE_KEY: Final = b"cxr.selection.bundle"


@dataclass(frozen=True, slots=True)
class Criteria:
    """Which films are chosen: those that meet all that is given.

    Attributes
    ----------
    classes : tuple of FilmClass
    grades : tuple of Grade
    months : tuple of str
        Study months as ``YYYY-MM``, or whole years as ``YYYY``.
    where : str or None
        A condition in DuckDB's SQL about columns of the score rows, such as ``percent_infected > 10 and view = 'AP'``.
    limit : int or None
        At most so many, the newest studies first.
    """

    classes: tuple[FilmClass, ...] = ()
    grades: tuple[Grade, ...] = ()
    months: tuple[str, ...] = ()
    where: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """A stored selection: of which root and bundle (``<name>-<digest8>``), where it lies, how many films it names."""

    root: str
    bundle: str
    uri: str
    films: int

    @property
    def source(self) -> str:
        """What a run takes as its source."""
        return f"{INVENTORY_PREFIX}{self.uri}"


def the_bundle(results: ResultsRoot, bundle: str | None) -> str:
    """Return the one stored bundle that is meant, as ``<name>-<digest8>``.

    Raises
    ------
    UsageError
        There is none, or there are several.
    """
    chosen = cohort.stored_bundles(results, bundle)
    if len(chosen) > 1:
        raise UsageError(f"{results.root} has rows of several bundles: expected the name of one of {', '.join(chosen)}")
    return chosen[0]


def select(results: ResultsRoot, bundle: str, criteria: Criteria) -> pa.Table:
    """Return the films that `criteria` choose among the rows of `bundle` that count, as an inventory, sorted by uri.

    Raises
    ------
    UsageError
        No film meets the criteria, or they are not valid.
    """
    conditions, values = _conditions(criteria)
    limit = "" if criteria.limit is None else f"limit {criteria.limit:d}"
    with isolated_database() as database:
        fill_current_rows(database, "films", results, bundle, SEARCHABLE)
        # The condition is the caller's own, about rows that are theirs; this database can reach nothing else.
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
            raise UsageError(f"expected a condition about columns of the score rows; got {got}") from error
    if not chosen.num_rows:
        raise UsageError(f"no scored film of {bundle} at {results.root} meets the criteria")
    return chosen.cast(INVENTORY)


def write_selection(films: pa.Table, *, of: ResultsRoot, bundle: str, out: ResultsRoot, run_id: str) -> Selection:
    """Store a selection for the run `run_id` into `out`, which may be another root than that of the rows."""
    key = layout.selection_key(run_id)
    metadata = {**films.schema.metadata, _ROOT_KEY: of.root.encode(), _BUNDLE_KEY: bundle.encode()}
    sink = io.BytesIO()
    pq.write_table(films.replace_schema_metadata(metadata), sink, compression="zstd")
    out.put(key, sink.getvalue())
    return Selection(of.root, bundle, out.uri(key), films.num_rows)


def read_selection(out: ResultsRoot, run_id: str) -> Selection:
    """Return the selection that the run `run_id` was made of.

    Raises
    ------
    UsageError
        The run is of no selection.
    RunError
        The stored object is none.
    """
    data = out.get(layout.selection_key(run_id))
    if data is None:
        raise UsageError(f"the run {run_id} into {out.root} was not begun by `cxr rescore`: it has no selection")
    try:
        stored = pq.ParquetFile(io.BytesIO(data))
        metadata = stored.schema_arrow.metadata
        root, bundle = (metadata[key].decode() for key in (_ROOT_KEY, _BUNDLE_KEY))
    except (pa.ArrowException, KeyError, TypeError) as error:
        raise RunError(
            f"{out.uri(layout.selection_key(run_id))}: expected a selection; got {type(error).__name__}"
        ) from error
    return Selection(root, bundle, out.uri(layout.selection_key(run_id)), stored.metadata.num_rows)


def _conditions(criteria: Criteria) -> tuple[str, dict[str, Any]]:
    """Return the criteria as one SQL condition, and the values that it names."""
    parts: list[str] = ["true"]
    values: dict[str, Any] = {}
    for column, words in (("class_label", criteria.classes), ("grade", criteria.grades)):
        if words:
            parts.append(f"{column} in (select unnest(${column}))")
            values[column] = [word.value for word in words]
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
