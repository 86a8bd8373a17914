"""Load the scores of a results root as one pandas table, one row per film and bundle.

A results root keeps every row that was ever settled; fewer of them count. `cxrlib.results.which_rows_count` defines
which, for example after a film was replaced. The rows left out are counted in ``DataFrame.attrs`` and logged.

Rows of an older schema version are read too; a column that they lack is null. Masks and localisation maps are text:
`cxrlib.measuring.rle.decode` and `cxrlib.measuring.localisation.decode` turn them into arrays of the row's
``mask_rows`` x ``mask_columns``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa

from cxr_schemas import SCORES, FilmClass, Grade, LungsFound, SourceFormat, View, Windowing
from cxrlib.errors import UsageError
from cxrlib.results import rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.which_rows_count import DECIDING, LeftOut, fill_left_out
from cxrlib.runs.scratch_database import isolated_database

_log = logging.getLogger(__name__)

_NULLABLE_TYPES: Final = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
}
#: Columns of a closed vocabulary, and whether it is ordered. All its values are categories, even those that no row has.
_VOCABULARIES: Final[dict[str, tuple[type[StrEnum], bool]]] = {
    "view": (View, False),
    "source_format": (SourceFormat, False),
    "class_label": (FilmClass, False),
    "lungs_found": (LungsFound, False),
    "grade": (Grade, True),
    "qc_windowing": (Windowing, False),
}


def load(uri: str, *, bundle: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the score rows of a results root that count, one per film and bundle, sorted by bundle and URI.

    Parameters
    ----------
    uri : str
        The results root, a folder or any fsspec URL, as given to ``cxr score --out``. A run may write to it at the same
        time: each chunk is put in one atomic step, so only complete chunks are read.
    bundle : str, optional
        Name of a bundle, for all its versions (``default``), or name and digest, for one of them
        (``default-1a2b3c4d``). All bundles by default; the column ``bundle_digest`` distinguishes their rows.
    columns : sequence of str, optional
        Columns of `cxr_schemas.SCORES` to return, in this order. All by default. Without the two masks
        (``lung_rle``, ``infection_rle``), a million rows take 0.7 GB instead of 1.4 GB.

    Returns
    -------
    DataFrame
        Text of few values as categoricals, ``grade`` as an ordered one; ``study_date`` as datetime64; counts that may
        be missing as nullable integers; missing floats as NaN. ``attrs`` has the numbers of rows that were left out:

        - ``dropped_configs``: made under other settings than those of their bundle's newest run
        - ``dropped_versions``: of objects that were replaced since
        - ``dropped_copies``: of films whose content another URI has too; the URI that sorts first is kept

    Raises
    ------
    UsageError
        There are no results at `uri` or none of the bundle, or a column is unknown.
    RunError
        A stored object cannot be read, or the root is an incomplete copy.

    Examples
    --------
    `results` is a results root.

    >>> from cxrlib import cohort
    >>> films = cohort.load(results, columns=["uri", "percent_infected", "grade"])
    >>> list(films.columns)
    ['uri', 'percent_infected', 'grade']
    >>> films["uri"].is_unique
    True
    >>> films["grade"].cat.categories.tolist()
    ['none', 'mild', 'moderate', 'severe', 'critical']
    """
    wanted = SCORES.names if columns is None else list(columns)
    unknown = [name for name in wanted if name not in SCORES.names]
    if unknown:
        raise UsageError(f"expected columns of the scores schema; got {', '.join(unknown)}")
    results = ResultsRoot.at(uri)
    results.require_complete()
    read = [name for name in SCORES.names if name in wanted or name in DECIDING]
    stored = _read(results, stored_partitions(results, bundle), read)
    counting, left_out = _counting(stored, results)
    films = _typed(counting, read)
    films = films.sort_values(["bundle_digest", "uri"], kind="stable", ignore_index=True)[wanted]
    films.attrs = {
        "dropped_configs": left_out.other_settings,
        "dropped_versions": left_out.replaced,
        "dropped_copies": left_out.copies,
    }
    return films


def stored_partitions(results: ResultsRoot, bundle: str | None) -> list[str]:
    """Return the partitions (``<name>-<digest8>``) of one bundle, or of all; `bundle` is a name or a partition.

    Raises
    ------
    UsageError
        There is none.
    """
    stored = results.partitions()
    if not stored:
        raise UsageError(
            f"no results at {results.root}: expected scores/bundle=<name>-<digest>/part-*.parquet, as cxr score writes"
        )
    chosen = [name for name in stored if bundle is None or bundle in (name, name.rpartition("-")[0])]
    if not chosen:
        raise UsageError(f"no results of bundle {bundle} at {results.root}; it has {', '.join(stored)}")
    return chosen


def _read(results: ResultsRoot, partitions: Iterable[str], columns: Sequence[str]) -> pa.Table:
    """Return the rows of all settled chunks, each column with one dictionary of categories."""
    tables = [rows.row_schema(RowKind.SCORES, columns, categories=True).empty_table()]
    for partition in partitions:
        chunks = rows.settled_chunks(results, RowKind.SCORES, partition)
        tables += rows.read_tables(results, RowKind.SCORES, partition, chunks, columns, categories=True)
    return pa.concat_tables(tables).unify_dictionaries()


def _counting(stored: pa.Table, results: ResultsRoot) -> tuple[pa.Table, LeftOut]:
    """Return the rows that count (`cxrlib.results.which_rows_count`), and how many do not by which rule."""
    numbered = stored.select(list(DECIDING)).append_column("row_index", pa.array(np.arange(stored.num_rows)))
    with isolated_database() as database:
        database.register("stored", numbered)
        left_out = fill_left_out(database, "stored", results, copies_count=False)
        excluded = database.execute("select row_index from left_out").fetchnumpy()["row_index"]
    for count, what in (
        (left_out.other_settings, "rows made under other settings than those of their bundle's newest run"),
        (left_out.replaced, "rows of objects that were replaced since"),
        (left_out.copies, "copies of films that have another URI too"),
    ):
        if count:
            _log.info("left out %d %s", count, what)
    if not len(excluded):
        return stored, left_out
    counting = np.ones(stored.num_rows, bool)
    counting[excluded] = False
    return stored.filter(pa.array(counting)), left_out


def _typed(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table as pandas, with types that depend on the columns alone and not on their values."""
    frame: dict[str, pd.Series[Any]] = {}
    for name in columns:
        field = SCORES.field(name)
        nullable = field.nullable and field.type in _NULLABLE_TYPES
        series = table[name].to_pandas(types_mapper=_NULLABLE_TYPES.get if nullable else None)
        if pa.types.is_date(field.type):
            series = pd.to_datetime(series).astype("datetime64[s]")
        elif name in _VOCABULARIES:
            vocabulary, ordered = _VOCABULARIES[name]
            series = series.astype(pd.CategoricalDtype([value.value for value in vocabulary], ordered=ordered))
        frame[name] = series
    return pd.DataFrame(frame)
