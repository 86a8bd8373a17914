"""Read the rows of a results root: the one reader of score and reject objects.

Rows are read as a stream: some columns of any number of objects, a few objects in memory at a time. Which of the rows
count is defined in `cxrlib.results.which_rows_count`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_schemas import REJECTS, SCORES
from cxr_schemas.scores import SCORES_SINCE
from cxrlib.errors import RunError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import CONCURRENT_READS, ResultsRoot

#: Most objects that are read from a local disk at the same time, per core: more readers only compete for the cores.
_LOCAL_READERS_PER_CORE: Final = 2
_SCHEMAS: Final = {RowKind.SCORES: SCORES, RowKind.REJECTS: REJECTS}
#: Characters that DuckDB reads as a pattern in the name of a file.
_PATTERN: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class ObjectRows:
    """Rows of one stored object: all of them, or one row group of an object that has several.

    Attributes
    ----------
    chunk_id : str
    table : pa.Table
        Of the columns asked for.
    stored : pa.Schema
        The schema of the object itself.
    """

    chunk_id: str
    table: pa.Table
    stored: pa.Schema


def settled_chunks(results: ResultsRoot, kind: RowKind, partition: str) -> list[str]:
    """Return the ids of the settled chunks that have an object of `kind`, sorted.

    A chunk is settled when its scores object exists. Rejects without a scores object are of a chunk whose run was
    interrupted; they do not count. A compacted object (`cxrlib.results.compact`) is listed as a chunk.
    """
    settled = results.chunks(RowKind.SCORES, partition)
    return sorted(settled if kind is RowKind.SCORES else settled & results.chunks(kind, partition))


def row_schema(kind: RowKind, columns: Sequence[str] | None = None, *, categories: bool = False) -> pa.Schema:
    """Return the schema of the tables that are read: the stored one, with text in place of categories by default."""
    schema = _SCHEMAS[kind]
    fields = [schema.field(name) for name in (schema.names if columns is None else columns)]
    return pa.schema(fields if categories else [_as_text(field) for field in fields])


def read_objects(
    results: ResultsRoot,
    kind: RowKind,
    partition: str,
    chunk_ids: Iterable[str],
    columns: Sequence[str] | None = None,
    *,
    categories: bool = False,
    on_unreadable: Callable[[RunError], None] | None = None,
) -> Iterator[ObjectRows]:
    """Yield the rows of some chunks' objects, in the given order, with tables of schema `row_schema`.

    An object that has several row groups is read one row group at a time. A column that an older schema version lacks
    is null.

    Parameters
    ----------
    columns : sequence of str, optional
        Only these are fetched. All by default.
    categories : bool
        Keep dictionary-encoded columns as they are stored.
    on_unreadable : callable, optional
        Called with the error of an object that cannot be read; reading continues with the next one.

    Raises
    ------
    RunError
        An object is missing or is not Parquet with these columns, and `on_unreadable` is not given.
    """
    schema = row_schema(kind, columns, categories=categories)
    readers = CONCURRENT_READS
    if results.local_path("") is not None:
        readers = min(readers, _LOCAL_READERS_PER_CORE * (os.cpu_count() or 1))
    pending: deque[Future[Iterator[ObjectRows]]] = deque()

    def next_object() -> Iterator[ObjectRows]:
        try:
            yield from pending.popleft().result()
        except RunError as error:
            if on_unreadable is None:
                raise
            on_unreadable(error)

    with ThreadPoolExecutor(readers) as pool:
        try:
            for chunk_id in chunk_ids:
                pending.append(pool.submit(_start_object, results, kind, partition, chunk_id, schema))
                if len(pending) == 2 * readers:
                    yield from next_object()
            while pending:
                yield from next_object()
        finally:
            for future in pending:
                future.cancel()


def read_tables(
    results: ResultsRoot,
    kind: RowKind,
    partition: str,
    chunk_ids: Iterable[str],
    columns: Sequence[str] | None = None,
    *,
    categories: bool = False,
) -> Iterator[pa.Table]:
    """Yield the tables of `read_objects`."""
    for rows in read_objects(results, kind, partition, chunk_ids, columns, categories=categories):
        yield rows.table


def batch_reader(
    results: ResultsRoot, kind: RowKind, partition: str, chunk_ids: Iterable[str], columns: Sequence[str] | None = None
) -> pa.RecordBatchReader:
    """Return the rows of `read_objects` as an Arrow reader, which DuckDB can query."""
    tables = read_tables(results, kind, partition, chunk_ids, columns)
    batches = (batch for table in tables for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(row_schema(kind, columns), batches)


def read_object(results: ResultsRoot, kind: RowKind, partition: str, chunk_id: str, columns: Sequence[str]) -> pa.Table:
    """Return some columns of one chunk's object, as `read_objects` does."""
    schema = row_schema(kind, columns)
    parts = _start_object(results, kind, partition, chunk_id, schema)
    return pa.concat_tables([schema.empty_table(), *(rows.table for rows in parts)])


def count_rows(results: ResultsRoot, kind: RowKind, partition: str, chunk_id: str) -> int:
    """Return the number of rows in one chunk's object. Only the Parquet footer is read.

    Raises
    ------
    RunError
        The object is missing or is not Parquet.
    """
    with _opened(results, kind, partition, chunk_id) as stored:
        return int(stored.metadata.num_rows)


@contextmanager
def duckdb_view(
    database: duckdb.DuckDBPyConnection,
    results: ResultsRoot,
    kind: RowKind,
    partition: str,
    chunk_ids: Sequence[str],
    *,
    columns: Sequence[str],
) -> Iterator[None]:
    """Let one statement in the block read the rows of some chunks as the view ``scores`` or ``rejects``.

    DuckDB reads the objects of a local disk itself, which is faster; `database` must be allowed to read files. From any
    other store the rows come through `batch_reader`.

    Raises
    ------
    RunError
        The statement failed and an object cannot be read.
    """
    paths = [results.local_path(layout.chunk_key(kind, partition, chunk_id)) for chunk_id in chunk_ids]
    local = [path for path in paths if path is not None and not _PATTERN & set(path)]
    try:
        if local and len(local) == len(chunk_ids):
            database.read_parquet(local, hive_partitioning=False).create_view(kind.value)
        else:
            database.register(kind.value, batch_reader(results, kind, partition, chunk_ids, columns))
        yield
    except duckdb.Error:
        for _ in read_objects(results, kind, partition, chunk_ids, columns):
            pass  # the object that cannot be read raises an error that names it
        raise


def _start_object(
    results: ResultsRoot, kind: RowKind, partition: str, chunk_id: str, schema: pa.Schema
) -> Iterator[ObjectRows]:
    """Read an object of one row group now; return what reads the row groups of a larger one when they are needed."""
    with _opened(results, kind, partition, chunk_id) as stored:
        if stored.num_row_groups > 1:
            return _row_groups(results, kind, partition, chunk_id, schema)
        as_stored = stored.schema_arrow
        table = stored.read(columns=_present(schema, as_stored), use_threads=False)  # objects are read in parallel
        uri = results.uri(layout.chunk_key(kind, partition, chunk_id))
        return iter([ObjectRows(chunk_id, _with_schema(table, uri, schema), as_stored)])


def _row_groups(
    results: ResultsRoot, kind: RowKind, partition: str, chunk_id: str, schema: pa.Schema
) -> Iterator[ObjectRows]:
    uri = results.uri(layout.chunk_key(kind, partition, chunk_id))
    with _opened(results, kind, partition, chunk_id) as stored:
        as_stored = stored.schema_arrow
        columns = _present(schema, as_stored)
        for group in range(stored.num_row_groups):
            table = _with_schema(stored.read_row_group(group, columns=columns), uri, schema)
            yield ObjectRows(chunk_id, table, as_stored)


@contextmanager
def _opened(results: ResultsRoot, kind: RowKind, partition: str, chunk_id: str) -> Iterator[pq.ParquetFile]:
    """Open an object as Parquet; raise `RunError`, which names it, where it cannot be read."""
    key = layout.chunk_key(kind, partition, chunk_id)
    path = results.local_path(key)
    try:
        if path is not None:  # Arrow reads local files faster than through fsspec
            with pq.ParquetFile(path, pre_buffer=True) as stored:
                yield stored
        else:
            with fsspec.open(results.uri(key), "rb") as file:
                yield pq.ParquetFile(file, pre_buffer=True)
    except (OSError, pa.ArrowException) as error:
        raise RunError(
            f"{results.uri(key)}: expected a Parquet object of {kind}; got {type(error).__name__}"
        ) from error


def _present(schema: pa.Schema, stored: pa.Schema) -> list[str] | None:
    """Return which columns of `schema` the object has; None for all it has, which saves Arrow a millisecond."""
    if schema.names == stored.names:
        return None
    names = frozenset(stored.names)
    return [name for name in schema.names if name in names]


def _with_schema(table: pa.Table, uri: str, schema: pa.Schema) -> pa.Table:
    """Return `table` with the columns and types of `schema`; columns that an older version lacks are null."""
    if table.schema.equals(schema):
        return table
    missing = [name for name in schema.names if name not in table.column_names]
    unknown = [name for name in missing if name not in SCORES_SINCE]
    if unknown:
        raise RunError(f"{uri}: expected columns {', '.join(schema.names)}; missing {', '.join(unknown)}")
    for name in missing:
        table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
    return table.select(schema.names).cast(schema)


def _as_text(field: pa.Field) -> pa.Field:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, type_, nullable=field.nullable)
