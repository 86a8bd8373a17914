"""The rows of settled chunks as a stream: some columns of however many objects, a few objects in memory at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from cxr_schemas import REJECTS, SCORES
from cxr_schemas.scores import SCORES_SINCE
from cxrlib.errors import RunError
from cxrlib.results import layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot

#: Objects that are read at a time, and that wait to be taken.
_READERS: Final = 8
_AHEAD: Final = 2 * _READERS
_SCHEMAS: Final = {RowKind.SCORES: SCORES, RowKind.REJECTS: REJECTS}


def names(results: ResultsRoot, kind: RowKind, partition: str) -> list[str]:
    """Return the names of the objects of `kind` whose rows count, sorted: those of settled chunks."""
    settled = results.chunks(RowKind.SCORES, partition)
    return sorted(settled if kind is RowKind.SCORES else settled & results.chunks(kind, partition))


def plain(kind: RowKind, columns: Sequence[str] | None = None) -> pa.Schema:
    """Return the schema of what `stream` yields: that of the stored rows, with text in place of categories."""
    schema = _SCHEMAS[kind]
    chosen = schema.names if columns is None else columns
    return pa.schema([_plain(schema.field(name)) for name in chosen])


def stream(
    results: ResultsRoot, kind: RowKind, partition: str, objects: Iterable[str], columns: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Yield the rows of `objects`, in their order, as tables of schema `plain`.

    A table is a whole object, or a row group of one that has several. A column that rows of an older schema version
    lack is null. Only the columns asked for (all by default) are fetched.

    Raises
    ------
    RunError
        An object is missing, or is not Parquet with these columns.
    """
    schema = plain(kind, columns)
    waiting: deque[Future[Iterator[pa.Table]]] = deque()
    with ThreadPoolExecutor(_READERS) as pool:
        try:
            for name in objects:
                uri = results.uri(layout.chunk_key(kind, partition, name))
                waiting.append(pool.submit(_read, uri, kind, schema))
                if len(waiting) == _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def reader(
    results: ResultsRoot, kind: RowKind, partition: str, objects: Iterable[str], columns: Sequence[str] | None = None
) -> pa.RecordBatchReader:
    """Return `stream` as what DuckDB and others read from."""
    tables = stream(results, kind, partition, objects, columns)
    batches = (batch for table in tables for batch in table.to_batches())
    return pa.RecordBatchReader.from_batches(plain(kind, columns), batches)


def _read(uri: str, kind: RowKind, schema: pa.Schema) -> Iterator[pa.Table]:
    """Return the tables of one object; a small one is read now, a large one as it is asked for."""
    with _named(uri, kind), fsspec.open(uri, "rb") as file:
        stored = pq.ParquetFile(file)
        if stored.num_row_groups > 1:
            return _groups(uri, kind, schema)
        present = [name for name in schema.names if name in stored.schema_arrow.names]
        return iter([_as_asked(stored.read(columns=present), uri, schema)])


def _groups(uri: str, kind: RowKind, schema: pa.Schema) -> Iterator[pa.Table]:
    with _named(uri, kind), fsspec.open(uri, "rb") as file:
        stored = pq.ParquetFile(file)
        present = [name for name in schema.names if name in stored.schema_arrow.names]
        for group in range(stored.num_row_groups):
            yield _as_asked(stored.read_row_group(group, columns=present), uri, schema)


class _named:
    """Say which object it was that could not be read."""

    def __init__(self, uri: str, kind: RowKind) -> None:
        self._uri, self._kind = uri, kind

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError | pa.ArrowException):
            raise RunError(
                f"{self._uri}: expected a Parquet object of {self._kind}; got {type(error).__name__}"
            ) from error


def _as_asked(table: pa.Table, uri: str, schema: pa.Schema) -> pa.Table:
    missing = [name for name in schema.names if name not in table.column_names]
    strange = [name for name in missing if name not in SCORES_SINCE]
    if strange:
        raise RunError(f"{uri}: expected columns {', '.join(schema.names)}; missing {', '.join(strange)}")
    for name in missing:
        table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
    return table.select(schema.names).cast(schema)


def _plain(field: pa.Field) -> pa.Field:
    type_ = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    return pa.field(field.name, type_, nullable=field.nullable)
