"""What is settled already: built from the stored scores and rejects themselves, and from nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from cxr_schemas import REJECTS, SCORES, Reason
from cxrlib.errors import RunError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.planning import KEY, workbench

#: One row per (uri, version) with an outcome.
LEDGER: Final[pa.Schema] = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        # Scored or finally rejected: not planned again.
        pa.field("settled", pa.bool_(), nullable=False),
        # What was found speaks for copies of the object too, as a score or a truncated file does and a missing one
        # does not.
        pa.field("stands", pa.bool_(), nullable=False),
        # Tries that ended in an outcome.
        pa.field("attempts", pa.int16(), nullable=False),
    ]
)
#: Final rejects that say nothing of the bytes.
_NOT_OF_CONTENT: Final = (Reason.NOT_FOUND,)
_READERS: Final = 8
_STORED: Final = {RowKind.SCORES: SCORES, RowKind.REJECTS: REJECTS}
#: Columns that an outcome is told by.
_COLUMNS: Final = {
    RowKind.SCORES: ("uri", "version", "bundle_digest", "config_digest"),
    RowKind.REJECTS: ("uri", "version", "reason", "retryable", "attempt", "bundle_digest", "config_digest"),
}
#: Signs that DuckDB takes for a pattern in the name of a file.
_PATTERN: Final = frozenset("*?[")
_SAY_NOTHING: Final = ", ".join(f"'{reason.value}'" for reason in _NOT_OF_CONTENT)
_OUTCOMES: Final = f"""
    select uri, version, true as settled, true as stands, 1::smallint as attempts from scores
    where bundle_digest = $bundle and config_digest = $config
    union all
    select uri, version, not retryable, not retryable and reason not in ({_SAY_NOTHING}), attempt from rejects
    where bundle_digest = $bundle and config_digest = $config
"""  # noqa: S608 - our own constants
_MERGED: Final = "bool_or(settled) as settled, bool_or(stands) as stands, max(attempts) as attempts"


def read_ledger(results: ResultsRoot, *, partition: str, bundle_digest: str, config_digest: str) -> pa.Table:
    """Return the outcomes stored under one bundle and one configuration, of schema `LEDGER`.

    Only settled chunks count: rejects whose scores object is missing are of a chunk that was cut short, and is done
    again. Of several outcomes a score wins, else a final reject, else the retryable rejects count as tries.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-ledger-") as folder, workbench(folder) as database:
        query = f"create table merged as select uri, version, {_MERGED} from ({_OUTCOMES}) group by all"  # noqa: S608
        _query(database, results, partition, query, {"bundle": bundle_digest, "config": config_digest})
        return database.sql("from merged").to_arrow_table().cast(LEDGER)


def fill_ledger(
    database: duckdb.DuckDBPyConnection, results: ResultsRoot, *, partition: str, bundle_digest: str, config_digest: str
) -> None:
    """Make what `read_ledger` returns the table ``ledger`` of a database, with `cxrlib.runs.planning.KEY` for its
    texts.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    query = f"create table ledger as select {KEY} as key, {_MERGED} from ({_OUTCOMES}) group by key"  # noqa: S608
    _query(database, results, partition, query, {"bundle": bundle_digest, "config": config_digest})


def _query(
    database: duckdb.DuckDBPyConnection, results: ResultsRoot, partition: str, query: str, values: dict[str, str]
) -> None:
    """Run a query about the views ``scores`` and ``rejects``, the rows of all settled chunks."""
    chunks = sorted(results.chunks(RowKind.SCORES, partition))
    filesystem, root = url_to_fs(results.root)
    local = isinstance(filesystem, LocalFileSystem) and not _PATTERN & set(root + partition)
    try:
        for kind, columns in _COLUMNS.items():
            if chunks and local:
                files = [f"{root}/{layout.chunk_key(kind, partition, chunk)}" for chunk in chunks]
                database.read_parquet(files, hive_partitioning=False).create_view(kind.value)
            else:
                database.register(kind.value, _reader(results, kind, partition, chunks, columns))
        database.execute(query, values)
    except duckdb.Error:
        for kind, columns in _COLUMNS.items():
            for _ in _tables(results, kind, partition, chunks, columns):
                pass  # the object that cannot be read raises what names it
        raise


def _reader(
    results: ResultsRoot, kind: RowKind, partition: str, chunks: Sequence[str], columns: Sequence[str]
) -> pa.RecordBatchReader:
    schema = pa.schema([_plain(_STORED[kind].field(name)) for name in columns])
    tables = _tables(results, kind, partition, chunks, columns)
    return pa.RecordBatchReader.from_batches(
        schema, (batch for table in tables for batch in table.cast(schema).to_batches())
    )


def _tables(
    results: ResultsRoot, kind: RowKind, partition: str, chunks: Sequence[str], columns: Sequence[str]
) -> Iterator[pa.Table]:
    with ThreadPoolExecutor(_READERS) as pool:
        yield from pool.map(lambda chunk: read_columns(results, kind, partition, chunk, columns), chunks)


def read_columns(
    results: ResultsRoot, kind: RowKind, partition: str, chunk_id: str, columns: Sequence[str]
) -> pa.Table:
    """Return columns of one chunk object, dictionaries decoded; the rest of the object is not fetched.

    Raises
    ------
    RunError
        The object is missing, or is not Parquet with these columns.
    """
    key = layout.chunk_key(kind, partition, chunk_id)
    try:
        with fsspec.open(results.uri(key), "rb") as file:
            table = pq.ParquetFile(file).read(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{results.uri(key)}: expected a Parquet object of {kind}; got {type(error).__name__}"
        ) from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise RunError(f"{results.uri(key)}: expected columns {', '.join(columns)}; missing {', '.join(missing)}")
    return table.cast(pa.schema([_plain(field) for field in table.schema])).select(list(columns))


def _plain(field: pa.Field) -> pa.Field:
    """Return a field with text in place of categories."""
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
