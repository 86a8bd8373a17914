"""Make the plan of a run from a listing and the ledger, without holding either in memory.

DuckDB joins, groups and sorts, and spills to this machine's disk. Even for ten million listed objects and ten million
outcomes no text is held in memory: they are matched by the MD5 of uri and version. It has 128 bits; the odds that two
in a set of that size are equal are 10^-25.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_schemas import PLAN, Disposition
from cxrlib.archive.filesystems import CONTENT_VERSION
from cxrlib.archive.reference_tables import REFERENCE_SCHEMA
from cxrlib.results.parquet import in_groups_of
from cxrlib.runs.plan import ROW_GROUP, Chunk, PlanSummary
from cxrlib.runs.scratch_database import spilling_database

#: Identifies an object and a version where only equality matters. No store allows the separator in a key.
KEY: Final = "md5_number(uri || chr(31) || version)"
#: Disposition of the rows, in the order in which a plan has them.
_DISPOSITIONS: Final = (Disposition.SCORE, Disposition.DUPLICATE, Disposition.SETTLED)
_SPOOLED: Final = pa.schema(
    [
        ("uri", pa.string()),
        ("version", pa.string()),
        ("size", pa.int64()),
        ("rank", pa.int8()),
        ("attempt", pa.int16()),
        ("original", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan on this machine's disk, readable while the block of `draft_plan` runs.

    Attributes
    ----------
    summary : PlanSummary
        Its chunks and counts.
    """

    summary: PlanSummary
    _spool: Path

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the plan, of schema `cxr_schemas.PLAN`, in tables of `cxrlib.runs.plan.ROW_GROUP` rows.

        The last table may have fewer. Films to score come first, then duplicates, then settled films, each sorted by
        uri and version. So the rows of a chunk are consecutive.
        """
        summary = self.summary
        counts = (summary.films, summary.duplicate, summary.settled)
        present = [rank for rank, count in enumerate(counts) if count]
        names = pa.array([_DISPOSITIONS[rank].value for rank in present], pa.string())
        ids = pa.array([chunk.chunk_id for chunk in summary.chunks], pa.string())
        # Each row group has the dictionary of all chunks, as if one table had been written.
        codes = np.array([present.index(rank) if rank in present else 0 for rank in range(len(counts))], np.int32)
        ends = np.cumsum([chunk.films for chunk in summary.chunks])
        first = 0
        for rows in _spooled_tables(self._spool):
            ranks = rows["rank"].to_numpy()
            numbers = np.searchsorted(ends, np.arange(first, first + len(ranks)), side="right").astype(np.int32)
            original = rows["original"].combine_chunks()
            columns = {
                "uri": rows["uri"],
                "version": rows["version"],
                "size": rows["size"],
                "disposition": pa.DictionaryArray.from_arrays(pa.array(codes[ranks]), names),
                "chunk_id": pa.DictionaryArray.from_arrays(pa.array(numbers, mask=ranks != 0), ids),
                "attempt": rows["attempt"],
                "duplicate_of_uri": original,
                "duplicate_of_version": pc.if_else(pc.is_valid(original), rows["version"], None),
            }
            first += len(ranks)
            yield pa.table(columns).cast(PLAN)


@contextmanager
def draft_plan(
    listed: Iterable[pa.RecordBatch],
    fill_ledger: Callable[[duckdb.DuckDBPyConnection], None],
    *,
    chunk_size: int,
    bundle_digest: str,
    config_digest: str,
) -> Iterator[Draft]:
    """Make the plan of a run.

    Parameters
    ----------
    listed : iterable of pa.RecordBatch
        Of schema `cxrlib.archive.reference_tables.REFERENCE_SCHEMA`, in the order listed. If a uri is listed twice, the
        first one counts.
    fill_ledger : callable
        Makes the table ``ledger`` in a database (`cxrlib.runs.ledger.fill_ledger`) for the same two digests.
    chunk_size : int
        Films per chunk; the last chunk may have fewer.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-plan-") as folder:
        spool = Path(folder) / "plan.arrow"
        counts = [0, 0, 0]
        naming = _ChunkNames(chunk_size, bundle_digest, config_digest)
        with spilling_database(folder) as database, pa.OSFile(str(spool), "wb") as file:
            fill_ledger(database)
            _join(database, listed)
            _drop_repeated(database)
            _find_originals(database)
            with pa.ipc.new_stream(file, _SPOOLED) as writer:
                for batch in _ordered(database):
                    writer.write_batch(batch)
                    for rank, count in enumerate(np.bincount(batch["rank"].to_numpy(), minlength=len(counts))):
                        counts[rank] += int(count)
                    naming.add(batch)
        chunks = naming.chunks()
        yield Draft(PlanSummary(tuple(chunks), counts[0], counts[1], counts[2]), spool)


def count_settled_since(
    films: Iterable[pa.Table], fill_ledger: Callable[[duckdb.DuckDBPyConnection], None]
) -> tuple[int, str | None]:
    """Count the films that another run has since settled, or already tried up to the attempt number of this plan.

    `films` are those of the plan (`cxrlib.runs.plan.films_of`). The second value is the first of the URIs, or None.
    """
    schema = pa.schema([PLAN.field(name) for name in ("uri", "version", "attempt")])
    batches = (batch for table in films for batch in table.to_batches())
    with tempfile.TemporaryDirectory(prefix="cxr-plan-") as folder, spilling_database(folder) as database:
        fill_ledger(database)
        query = f"select count(*), min(uri) from films join ledger on key = {KEY} where settled or attempts >= attempt"  # noqa: S608
        with _streamed(database, "films", schema, batches):
            count, first = database.execute(query).fetchall()[0]
        return int(count), first


@contextmanager
def _streamed(
    database: duckdb.DuckDBPyConnection, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> Iterator[None]:
    """Let one statement read `batches` as the view `name`. An error in reading them is raised unchanged."""
    raised: list[Exception] = []

    def watched() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            raised.append(error)
            raise

    database.register(name, pa.RecordBatchReader.from_batches(schema, watched()))
    try:
        yield
    except duckdb.Error:
        if raised:
            raise raised[0] from None
        raise
    finally:
        database.unregister(name)


def _join(database: duckdb.DuckDBPyConnection, listed: Iterable[pa.RecordBatch]) -> None:
    """Make the table ``known``: the listed objects, with their ``row_index`` in the listing and their outcomes."""
    schema = REFERENCE_SCHEMA.append(pa.field("row_index", pa.int64()))

    def placed() -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in listed:
            row_index = pa.array(np.arange(first, first + batch.num_rows))
            first += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, row_index], schema=schema)

    with _streamed(database, "listed", schema, placed()):
        database.execute(
            f"""
            create table known as
            select uri, version, size, row_index, coalesce(settled, false) as settled,
                coalesce(holds_for_copies, false) as holds_for_copies,
                coalesce(attempts, 0)::smallint as attempts,
                regexp_matches(version, '{CONTENT_VERSION}') and coalesce(size, 0) > 0
                    and (coalesce(holds_for_copies, false) or not coalesce(settled, false)) as may_have_copies
            from listed left join ledger on ledger.key = {KEY}
            """  # noqa: S608 - our own constants
        )
    database.execute("drop table ledger")


def _drop_repeated(database: duckdb.DuckDBPyConnection) -> None:
    """Keep the first row of each uri: overlapping sources list an object more than once.

    Hashes of 64 bits are compared first, then the texts of equal hashes. So memory holds hashes, not texts.
    """
    database.execute(
        """
        create table repeated as select hash(uri) as hashed from known group by hashed having count(*) > 1;
        delete from known using repeated where hash(known.uri) = hashed and row_index not in (
            select min(row_index) from known semi join repeated on hash(known.uri) = hashed group by uri);
        drop table repeated
        """
    )


def _find_originals(database: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``originals``: of objects that are copies (equal content token and size), the one to score.

    The original is the copy that is already settled with an outcome for all copies, otherwise the least-tried one. So a
    copy that cannot be read does not hide one that can. Empty objects are not copies of each other: each gets its own
    reject. An object without copies is not in the table.
    """
    database.execute(
        """
        create table repeated as
        select hash(version, size) as hashed from known where may_have_copies group by hashed having count(*) > 1;
        create table originals as
        select version, size, first(uri order by case when holds_for_copies then -1 else attempts end, uri) as original
        from known semi join repeated on hash(known.version, known.size) = hashed
        where may_have_copies group by version, size having count(*) > 1;
        drop table repeated
        """
    )


def _ordered(database: duckdb.DuckDBPyConnection) -> Iterator[pa.RecordBatch]:
    query = """
        select uri, version, size, rank::tinyint as rank,
            (case when settled then greatest(attempts, 1) else attempts + 1 end)::smallint as attempt,
            case when rank = 1 then original end as original
        from (
            select known.*, original, case
                when settled then 2
                when may_have_copies and original is not null and original <> uri then 1
                else 0 end as rank
            from known left join originals on known.version = originals.version and known.size = originals.size)
        order by rank, uri
    """
    for batch in database.sql(query).to_arrow_reader(ROW_GROUP):
        yield batch.cast(_SPOOLED)


def _spooled_tables(spool: Path) -> Iterator[pa.Table]:
    """Yield the spooled rows in tables of `ROW_GROUP` rows; the last may have fewer, and the only one may be empty."""
    with pa.OSFile(str(spool), "rb") as file, pa.ipc.open_stream(file) as batches:
        empty = True
        for table in in_groups_of(ROW_GROUP, batches):
            yield table
            empty = False
        if empty:
            yield _SPOOLED.empty_table()


class _ChunkNames:
    """Splits a stream of rows into chunks. A chunk id is 128 bits of SHA-256 of its references and the two digests.

    The number of the try is part of a reference: so a chunk of second tries has another id than the settled first.
    """

    def __init__(self, chunk_size: int, bundle_digest: str, config_digest: str) -> None:
        self._size = chunk_size
        self._head = f"{bundle_digest}\x1e{config_digest}\x1e".encode()
        self._digest = hashlib.sha256(self._head)
        self._films = 0
        self._chunks: list[Chunk] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Add the next rows of the plan; those that are not to be scored are ignored."""
        rows = rows.filter(pc.equal(rows["rank"], 0))
        if not rows.num_rows:
            return
        # Unit and record separators, which no store allows in a key, distinguish "a" + "bc" from "ab" + "c".
        text = pa.large_string()
        lines = pc.binary_join_element_wise(
            *(rows[name].cast(text) for name in ("uri", "version", "attempt")),
            pa.scalar("\x1e", text),
            pa.scalar("\x1f", text),
        )
        _, offsets_buffer, data = lines.buffers()
        offsets = np.frombuffer(offsets_buffer, np.int64)[lines.offset : lines.offset + len(lines) + 1]
        start = 0
        while start < len(lines):
            stop = min(start + self._size - self._films, len(lines))
            self._digest.update(data[int(offsets[start]) : int(offsets[stop])])
            self._films += stop - start
            start = stop
            if self._films == self._size:
                self._close()

    def chunks(self) -> list[Chunk]:
        """Return all chunks, including the last, which may be smaller."""
        if self._films:
            self._close()
        return self._chunks

    def _close(self) -> None:
        offset = len(self._chunks) * self._size
        self._chunks.append(Chunk(self._digest.hexdigest()[:32], offset, self._films))
        self._digest, self._films = hashlib.sha256(self._head), 0
