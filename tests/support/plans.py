"""Plans of a few references: made as a run makes them, and by a simple reference implementation."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from duckdb import DuckDBPyConnection

from cxr_schemas import PLAN, Disposition
from cxrlib.archive.filesystems import CONTENT_VERSION
from cxrlib.archive.reference_tables import REFERENCE_SCHEMA, reference_batches
from cxrlib.runs.ledger import LEDGER
from cxrlib.runs.plan import PlanHeader
from cxrlib.runs.planning import KEY, Draft, draft_plan
from cxrlib.types import ImageRef

NO_LEDGER = LEDGER.empty_table()


@contextmanager
def draft_of(
    refs: Iterable[ImageRef],
    ledger: pa.Table = NO_LEDGER,
    *,
    chunk_size: int = 2,
    bundle_digest: str = "b",
    config_digest: str = "c",
    batch: int = 3,
) -> Iterator[Draft]:
    """Yield the draft of a plan of `refs`, listed `batch` at a time, against a ledger of schema `LEDGER`."""

    def fill(database: DuckDBPyConnection) -> None:
        database.register("given", ledger)
        database.execute(f"create table ledger as select {KEY} as key, settled, holds_for_copies, attempts from given")  # noqa: S608

    listed = reference_batches(refs, batch)
    with draft_plan(
        listed, fill, chunk_size=chunk_size, bundle_digest=bundle_digest, config_digest=config_digest
    ) as draft:
        yield draft


def make_plan(refs: Iterable[ImageRef], ledger: pa.Table = NO_LEDGER, **settings: Any) -> pa.Table:
    """Return the plan of `draft_of` as one table."""
    with draft_of(refs, ledger, **settings) as draft:
        return pa.concat_tables(draft.tables()).combine_chunks()


_BATCH = 7


def plan_bytes(plan: pa.Table, header: PlanHeader, row_group: int) -> bytes:
    """Return the bytes of a stored plan, written as one table."""
    metadata = {**(plan.schema.metadata or {}), b"cxr.plan": json.dumps(asdict(header), sort_keys=True).encode()}
    sink = io.BytesIO()
    pq.write_table(plan.replace_schema_metadata(metadata), sink, compression="zstd", row_group_size=row_group)
    return sink.getvalue()


def reference_plan(
    refs: Iterable[ImageRef], ledger: pa.Table, *, chunk_size: int, bundle_digest: str, config_digest: str
) -> pa.Table:
    """Return the plan of a run, of schema `cxr_schemas.PLAN`, built in memory with Arrow joins.

    Parameters
    ----------
    refs : iterable of ImageRef
        As listed; the first reference of a uri counts.
    ledger : pa.Table
        Of schema `cxrlib.runs.ledger.LEDGER`, for the same two digests.
    chunk_size : int
        Films per chunk; the last may hold fewer.

    Returns
    -------
    pa.Table
        Rows to score, then duplicates, then settled films, each sorted by uri and version. So the rows of a chunk are
        adjacent.
    """
    listed = _first_of_each_uri(_tabulate(refs))
    table = listed.join(ledger, keys=["uri", "version"], join_type="left outer")
    for name, default in (("settled", False), ("holds_for_copies", False), ("attempts", 0)):
        index = table.schema.get_field_index(name)
        table = table.set_column(
            index, name, pc.fill_null(table[name], pa.scalar(default, ledger.schema.field(name).type))
        )
    table = _with_original(table)
    disposition = pc.if_else(
        table["settled"],
        Disposition.SETTLED.value,
        pc.if_else(pc.is_valid(table["original"]), Disposition.DUPLICATE.value, Disposition.SCORE.value),
    )
    rank = pc.index_in(disposition, value_set=pa.array([Disposition.SCORE.value, Disposition.DUPLICATE.value]))
    table = table.append_column("disposition", disposition).append_column("rank", pc.fill_null(rank, 2))
    table = table.sort_by([("rank", "ascending"), ("uri", "ascending"), ("version", "ascending")])
    attempt = pc.if_else(
        table["settled"], pc.max_element_wise(table["attempts"], 1), pc.add(table["attempts"], 1)
    ).cast(pa.int16())
    table = table.append_column("attempt", attempt)
    films = pc.sum(pc.equal(table["rank"], 0)).as_py() or 0
    chunk_ids = _chunk_ids(table.slice(0, films), chunk_size, bundle_digest, config_digest)
    columns = {
        "uri": table["uri"],
        "version": table["version"],
        "size": table["size"],
        "disposition": table["disposition"],
        "chunk_id": pa.chunked_array([chunk_ids, pa.nulls(table.num_rows - films, pa.string())]),
        "attempt": table["attempt"],
        "duplicate_of_uri": table["original"],
        "duplicate_of_version": pc.if_else(pc.is_valid(table["original"]), table["version"], None),
    }
    return pa.table(columns).combine_chunks().cast(PLAN)


def _tabulate(refs: Iterable[ImageRef]) -> pa.Table:
    return pa.Table.from_batches(_batches(refs), schema=REFERENCE_SCHEMA)


def _batches(refs: Iterable[ImageRef]) -> Iterator[pa.RecordBatch]:
    uris: list[str] = []
    versions: list[str] = []
    sizes: list[int | None] = []
    for ref in refs:
        uris.append(ref.uri)
        versions.append(ref.version)
        sizes.append(ref.size)
        if len(uris) == _BATCH:
            yield pa.record_batch(
                [pa.array(uris), pa.array(versions), pa.array(sizes, pa.int64())], schema=REFERENCE_SCHEMA
            )
            uris, versions, sizes = [], [], []
    yield pa.record_batch(
        [pa.array(uris, pa.string()), pa.array(versions, pa.string()), pa.array(sizes, pa.int64())],
        schema=REFERENCE_SCHEMA,
    )


def _first_of_each_uri(table: pa.Table) -> pa.Table:
    """Keep the first row of each uri, because overlapping sources list an object more than once."""
    table = table.append_column("index", pa.array(np.arange(table.num_rows)))
    first = table.group_by("uri").aggregate([("index", "min")])["index_min"]
    if len(first) == table.num_rows:
        return table.drop_columns("index")
    return table.take(first).drop_columns("index")


def _with_original(table: pa.Table) -> pa.Table:
    """Append the column `original`: the uri of the reference that this one is a copy of, or null.

    Objects with equal content token and size are copies. A settled result of one covers all of them. Otherwise the
    copy with the fewest attempts is scored, so that an unreadable copy does not hide a readable one. Empty objects
    are not copies of one another: each gets its own reject.
    """
    is_content = pc.match_substring_regex(table["version"], CONTENT_VERSION)
    copyable = pc.and_(is_content, pc.greater(pc.fill_null(table["size"], 0), 0))
    able = pc.and_(copyable, pc.or_(table["holds_for_copies"], pc.invert(table["settled"])))
    candidates = table.filter(able)
    order = pc.if_else(candidates["holds_for_copies"], -1, candidates["attempts"])
    ranked = candidates.append_column("order", order.cast(pa.int16())).sort_by(
        [("order", "ascending"), ("uri", "ascending")]
    )
    originals = (
        ranked.group_by(["version", "size"], use_threads=False)
        .aggregate([("uri", "first")])
        .rename_columns(["version", "size", "original"])
    )
    table = table.append_column("able", able).join(originals, keys=["version", "size"], join_type="left outer")
    is_copy = pc.and_(
        pc.and_(table["able"], pc.invert(table["settled"])), pc.not_equal(table["original"], table["uri"])
    )
    original = pc.if_else(pc.fill_null(is_copy, False), table["original"], pa.scalar(None, pa.string()))
    return table.set_column(table.schema.get_field_index("original"), "original", original)


def _chunk_ids(films: pa.Table, chunk_size: int, bundle_digest: str, config_digest: str) -> pa.Array:
    """Return the chunk id of each of `films`: 128 bits of SHA-256 over its references and the two digests.

    The attempt is part of a reference here, so that a chunk of second attempts never gets the id of the settled first.
    """
    if films.num_rows == 0:
        return pa.array([], pa.string())
    # Unit and record separators, which no store allows in a key, keep "a" + "bc" apart from "ab" + "c".
    lines = pc.binary_join_element_wise(
        films["uri"].cast(pa.large_string()),
        films["version"].cast(pa.large_string()),
        films["attempt"].cast(pa.large_string()),
        pa.scalar("\x1e", pa.large_string()),
        pa.scalar("\x1f", pa.large_string()),
    )
    lines = lines.combine_chunks() if isinstance(lines, pa.ChunkedArray) else lines
    _, offsets_buffer, data = lines.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, count=len(lines) + 1 + lines.offset)[lines.offset :]
    names = []
    for start in range(0, len(lines), chunk_size):
        stop = min(start + chunk_size, len(lines))
        digest = hashlib.sha256(f"{bundle_digest}\x1e{config_digest}\x1e".encode())
        digest.update(data[int(offsets[start]) : int(offsets[stop])])
        names.append(digest.hexdigest()[:32])
    codes = np.arange(len(lines)) // chunk_size
    return pa.array(names, pa.string()).take(pa.array(codes))
