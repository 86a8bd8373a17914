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
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
from fsspec.core import url_to_fs
from pydantic import ValidationError

from cxr_schemas import SCORES, FilmClass, Grade, LungsFound, Manifest, SourceFormat, View, Windowing
from cxrlib.errors import RunError, UsageError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.plan import read_summary

_log = logging.getLogger(__name__)

#: Columns by which it is decided which rows count; read whatever the caller asks for.
_DECIDING: Final = ("uri", "version", "content_digest", "bundle_digest", "config_digest", "run_id")
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
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)


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
    read = [name for name in SCORES.names if name in wanted or name in _DECIDING]
    films = _typed(_read(results, stored_bundles(results, bundle), read), read)
    moments = run_moments(results, films["run_id"].cat.categories)
    films, dropped_configs = _newest_config(films, moments)
    films, dropped_versions = _newest_version(films, moments)
    films, dropped_copies = _one_of_copies(films)
    films = films.sort_values(["bundle_digest", "uri"], kind="stable", ignore_index=True)[wanted]
    films.attrs = {
        "dropped_configs": dropped_configs,
        "dropped_versions": dropped_versions,
        "dropped_copies": dropped_copies,
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
    """Return the rows of all settled chunks."""
    filesystem, root = url_to_fs(results.root)
    paths = [
        f"{str(root).rstrip('/')}/{layout.chunk_key(RowKind.SCORES, partition, chunk_id)}"
        for partition in partitions
        for chunk_id in sorted(results.chunks(RowKind.SCORES, partition))
    ]
    schema = pa.schema([SCORES.field(name) for name in columns])
    if not paths:
        return schema.empty_table()
    try:
        return pads.dataset(paths, filesystem=filesystem, schema=schema, format="parquet").to_table()
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{results.root}: expected readable score objects; got {type(error).__name__}: {error}"
        ) from error


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


def run_moments(results: ResultsRoot, run_ids: Iterable[str]) -> dict[str, datetime]:
    """Return when each run was planned; a run whose records are gone counts as before all others."""
    return {run_id: _planned(results, run_id) for run_id in run_ids}


def run_ranks(moments: dict[str, datetime]) -> dict[str, int]:
    """Return the rank of each run by age, oldest first."""
    return {run_id: rank for rank, run_id in enumerate(sorted(moments, key=lambda run: (moments[run], run)))}


def _planned(results: ResultsRoot, run_id: str) -> datetime:
    data = results.get(layout.manifest_key(run_id))
    if data is not None:
        try:
            return _aware(Manifest.model_validate_json(data).planned_at)
        except ValidationError as error:
            raise RunError(
                f"{results.uri(layout.manifest_key(run_id))}: expected a manifest of this product"
            ) from error
    plan = read_summary(results, run_id)
    return _BEFORE_ALL if plan is None else _aware(plan[1].planned_moment)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _age(films: pd.DataFrame, moments: dict[str, datetime]) -> pd.Series[Any]:
    """Return the rank of each row's run by age, oldest first."""
    ranks = run_ranks(moments)
    return films["run_id"].astype(str).map(ranks)


def _newest_config(films: pd.DataFrame, moments: dict[str, datetime]) -> tuple[pd.DataFrame, int]:
    """Keep, of each bundle, the rows made under the settings of its newest run."""
    if films["config_digest"].nunique() <= films["bundle_digest"].nunique() == 1:
        return films, 0
    newest = _age(films, moments).groupby([films["bundle_digest"], films["config_digest"]], observed=True).max()
    configs = newest.groupby(level=0, observed=True).idxmax().map(lambda key: key[1])
    keep = films["config_digest"].astype(str) == films["bundle_digest"].astype(str).map(configs.to_dict())
    return _count(films, keep, "rows made under other settings than those of their bundle's newest run")


def _newest_version(films: pd.DataFrame, moments: dict[str, datetime]) -> tuple[pd.DataFrame, int]:
    """Keep, of each URI and bundle, the row of the newest run."""
    if not films.duplicated(["bundle_digest", "uri"]).any():
        return films, 0
    order = films.assign(_age=_age(films, moments)).sort_values(["_age", "version"], kind="stable")
    keep = ~order.duplicated(["bundle_digest", "uri"], keep="last").reindex(films.index)
    return _count(films, keep, "rows of objects that were replaced since")


def _one_of_copies(films: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Keep, of films of equal content, the one whose URI sorts first."""
    order = films.sort_values("uri", kind="stable")
    keep = ~order.duplicated(["bundle_digest", "content_digest"]).reindex(films.index)
    return _count(films, keep, "copies of films that stand under another URI")


def _count(films: pd.DataFrame, keep: pd.Series[bool], what: str) -> tuple[pd.DataFrame, int]:
    dropped = int((~keep).sum())
    if dropped:
        _log.info("left out %d %s", dropped, what)
    return films[keep], dropped
