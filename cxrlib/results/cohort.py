"""The cohort: a results root as one pandas table, one row per film and bundle.

>>> films = cohort.load("s3://bucket/results")
>>> films.groupby("grade", observed=True).size()

A results root keeps every row that was ever settled. What a cohort counts is less: a film whose object was replaced
has one row here, of the newest object; a film that lies in the archive twice has one row; and rows made under different
settings are not mixed. Each thing left out is counted in ``DataFrame.attrs`` and in the log. Rows of an older schema
version are read beside those of the present one; a column that they lack is null there.

Masks and localisation maps are text here; `cxrlib.measuring.rle.decode` and `cxrlib.measuring.localisation.decode`
draw them on the row's ``mask_rows`` x ``mask_columns``.
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
#: Columns of a closed vocabulary: all its words are categories, in its order, whether or not a row has them.
_VOCABULARIES: Final[dict[str, tuple[type[StrEnum], bool]]] = {
    "view": (View, False),
    "source_format": (SourceFormat, False),
    "class_label": (FilmClass, False),
    "lungs_found": (LungsFound, False),
    "grade": (Grade, True),
    "qc_windowing": (Windowing, False),
}


def load(uri: str, *, bundle: str | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return the committed score rows of a results root, one per film and bundle, sorted by bundle and URI.

    Parameters
    ----------
    uri : str
        The results root, a folder or any fsspec URL, as it was given to ``cxr score --out``. It may be written to
        meanwhile: chunks are put in one step each, so what is read is whole.
    bundle : str, optional
        Name of a bundle (``default``: all its versions), or one version of it as its folder has it
        (``default-1a2b3c4d``). All bundles by default; ``bundle_digest`` then tells their rows apart.
    columns : sequence of str, optional
        Columns of `cxr_schemas.SCORES` to return, in this order. All by default; a million rows without the two masks
        (``lung_rle``, ``infection_rle``) take 0.7 GB instead of 1.4.

    Returns
    -------
    DataFrame
        Low-cardinality text as categoricals, ``grade`` as an ordered one; ``study_date`` as datetime64; counts that may
        be missing as nullable integers, missing floats as NaN. ``attrs`` holds what was left out, in rows:
        ``dropped_configs`` (of one bundle, made under other settings than its newest run's), ``dropped_versions`` (the
        object was replaced since) and ``dropped_copies`` (of equal content, the first URI is kept).

    Raises
    ------
    UsageError
        There are no scores at `uri` or none of the bundle, or a column is unknown.
    RunError
        A stored object cannot be read, or the root is an unfinished copy.
    """
    wanted = SCORES.names if columns is None else list(columns)
    unknown = [name for name in wanted if name not in SCORES.names]
    if unknown:
        raise UsageError(f"expected columns of the scores schema; got {', '.join(unknown)}")
    results = ResultsRoot.at(uri)
    results.require_complete()
    read = [name for name in SCORES.names if name in wanted or name in DECIDING]
    stored = _read(results, stored_bundles(results, bundle), read)
    counting, left_out = _counting(stored, results)
    films = _typed(counting, read)
    films = films.sort_values(["bundle_digest", "uri"], kind="stable", ignore_index=True)[wanted]
    films.attrs = {
        "dropped_configs": left_out.other_settings,
        "dropped_versions": left_out.replaced,
        "dropped_copies": left_out.copies,
    }
    return films


def stored_bundles(results: ResultsRoot, bundle: str | None) -> list[str]:
    """Return the stored bundles that are asked for, each as ``<name>-<digest8>``: by that, or all of one name.

    Raises
    ------
    UsageError
        There are none.
    """
    stored = results.partitions()
    if not stored:
        raise UsageError(
            f"no results at {results.root}: expected scores/bundle=<name>-<digest>/part-*.parquet, as cxr score writes"
        )
    chosen = [name for name in stored if bundle is None or bundle in (name, name.rpartition("-")[0])]
    if not chosen:
        raise UsageError(f"no results of bundle {bundle} at {results.root}; there are {', '.join(stored)}")
    return chosen


def _read(results: ResultsRoot, partitions: Iterable[str], columns: Sequence[str]) -> pa.Table:
    """Return the rows of all settled chunks, with categories."""
    tables = [rows.row_schema(RowKind.SCORES, columns, categories=True).empty_table()]
    for partition in partitions:
        chunks = rows.settled_chunks(results, RowKind.SCORES, partition)
        tables += rows.read_tables(results, RowKind.SCORES, partition, chunks, columns, categories=True)
    return pa.concat_tables(tables)


def _counting(stored: pa.Table, results: ResultsRoot) -> tuple[pa.Table, LeftOut]:
    """Return the rows that count (`cxrlib.results.which_rows_count`), and how many do not by which rule."""
    numbered = stored.select(list(DECIDING)).append_column("place", pa.array(np.arange(stored.num_rows)))
    with isolated_database() as database:
        database.register("stored", numbered)
        left_out = fill_left_out(database, "stored", results, copies_count=False)
        places = database.execute("select place from left_out").fetchnumpy()["place"]
    for count, what in (
        (left_out.other_settings, "rows made under other settings than those of their bundle's newest run"),
        (left_out.replaced, "rows of objects that were replaced since"),
        (left_out.copies, "copies of films that have another URI too"),
    ):
        if count:
            _log.info("left out %d %s", count, what)
    if not len(places):
        return stored, left_out
    counting = np.ones(stored.num_rows, bool)
    counting[places] = False
    return stored.filter(pa.array(counting)), left_out


def _typed(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table in the pandas types that fit its columns; types do not hang on which values are there."""
    table = table.unify_dictionaries()
    frame: dict[str, pd.Series[Any]] = {}
    for name in columns:
        field = SCORES.field(name)
        nullable = field.nullable and field.type in _NULLABLE_TYPES
        series = table[name].to_pandas(types_mapper=_NULLABLE_TYPES.get if nullable else None)
        if pa.types.is_date(field.type):
            series = pd.to_datetime(series).astype("datetime64[s]")
        elif name in _VOCABULARIES:
            words, ordered = _VOCABULARIES[name]
            series = series.astype(pd.CategoricalDtype([word.value for word in words], ordered=ordered))
        frame[name] = series
    return pd.DataFrame(frame)
