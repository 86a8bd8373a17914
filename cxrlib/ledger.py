"""What is settled already: built from the stored scores and rejects themselves, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxrlib.errors import RunError
from cxrlib.store import Kind, Store
from schemas import Reason

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
#: Outcomes that are held at most before they are merged.
_MERGE_ROWS: Final = 2_000_000


def read_ledger(store: Store, *, partition: str, bundle_digest: str, config_digest: str) -> pa.Table:
    """Return the outcomes stored under one bundle and one configuration, of schema `LEDGER`.

    Only settled chunks count: rejects whose scores object is missing are of a chunk that was cut short, and is done
    again. Of several outcomes a score wins, else a final reject, else the retryable rejects count as tries.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    chunks = sorted(store.chunks(Kind.SCORES, partition))
    digests = (bundle_digest, config_digest)
    merged = LEDGER.empty_table()
    pending: list[pa.Table] = []
    for table in _outcomes(store, partition, chunks, digests):
        pending.append(table)
        if sum(part.num_rows for part in pending) > _MERGE_ROWS:
            merged, pending = _merge([merged, *pending]), []
    return _merge([merged, *pending])


def _outcomes(store: Store, partition: str, chunks: Sequence[str], digests: tuple[str, str]) -> Iterator[pa.Table]:
    def read(chunk_id: str) -> list[pa.Table]:
        return [
            _scored(read_columns(store, Kind.SCORES, partition, chunk_id, ["uri", "version", *_DIGESTS]), digests),
            _rejected(
                read_columns(
                    store,
                    Kind.REJECTS,
                    partition,
                    chunk_id,
                    ["uri", "version", "reason", "retryable", "attempt", *_DIGESTS],
                ),
                digests,
            ),
        ]

    with ThreadPoolExecutor(_READERS) as pool:
        for tables in pool.map(read, chunks):
            yield from tables


_DIGESTS: Final = ("bundle_digest", "config_digest")


def read_columns(store: Store, kind: Kind, partition: str, chunk_id: str, columns: Sequence[str]) -> pa.Table:
    """Return columns of one chunk object, dictionaries decoded; the rest of the object is not fetched.

    Raises
    ------
    RunError
        The object is missing, or is not Parquet with these columns.
    """
    key = store.chunk_key(kind, partition, chunk_id)
    try:
        with fsspec.open(store.uri(key), "rb") as file:
            table = pq.ParquetFile(file).read(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise RunError(f"{store.uri(key)}: expected a Parquet object of {kind}; met {type(error).__name__}") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise RunError(f"{store.uri(key)}: expected columns {', '.join(columns)}; missing {', '.join(missing)}")
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(plain)).select(list(columns))


def _of(table: pa.Table, digests: tuple[str, str]) -> pa.Table:
    keep = pc.and_(pc.equal(table["bundle_digest"], digests[0]), pc.equal(table["config_digest"], digests[1]))
    return table.filter(keep)


def _scored(table: pa.Table, digests: tuple[str, str]) -> pa.Table:
    table = _of(table, digests)
    yes = pa.repeat(True, table.num_rows)
    attempts = pa.repeat(pa.scalar(1, pa.int16()), table.num_rows)
    return pa.Table.from_arrays([table["uri"], table["version"], yes, yes, attempts], schema=LEDGER)


def _rejected(table: pa.Table, digests: tuple[str, str]) -> pa.Table:
    table = _of(table, digests)
    final = pc.invert(table["retryable"])
    elsewhere = pc.is_in(table["reason"], value_set=pa.array([reason.value for reason in _NOT_OF_CONTENT]))
    stands = pc.and_(final, pc.invert(elsewhere))
    return pa.Table.from_arrays([table["uri"], table["version"], final, stands, table["attempt"]], schema=LEDGER)


def _merge(tables: Sequence[pa.Table]) -> pa.Table:
    merged = (
        pa.concat_tables(tables)
        .group_by(["uri", "version"])
        .aggregate([("settled", "max"), ("stands", "max"), ("attempts", "max")])
    )
    columns = ["uri", "version", "settled_max", "stands_max", "attempts_max"]
    return merged.select(columns).rename_columns(LEDGER.names).cast(LEDGER)
