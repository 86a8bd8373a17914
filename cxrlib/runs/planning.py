"""From a listing and the ledger to a plan, out of core.

DuckDB joins, groups and sorts; what does not fit into its memory lies on this machine's disk for as long as the plan is
made. Where ten million objects meet ten million outcomes, neither side's text is held: they are matched by the MD5 of
uri and version, 128 bits, of which two in a set of that size are equal with odds of 10^-25.
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
from cxrlib.runs.plan import ROW_GROUP, Chunk, Summary
from cxrlib.runs.scratch_database import spilling_database

#: What an object and a version are told by where only equality counts. The separator stands in no store's keys.
KEY: Final = "md5_number(uri || chr(31) || version)"
#: What becomes of the rows, by the rank in which the plan has them.
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
    """A plan that lies on this machine's disk, for as long as `drafted` lasts.

    Attributes
    ----------
    summary : Summary
        Its chunks and counts.
    """

    summary: Summary
    _spool: Path

    def tables(self) -> Iterator[pa.Table]:
        """Yield the plan's rows, of schema `cxr_schemas.PLAN`, in tables of `cxrlib.runs.plan.ROW_GROUP`, the last of
        fewer.

        First the rows to score, then duplicates, then what is settled; each sorted by uri and version. So the rows of
        a chunk stand together.
        """
        summary = self.summary
        counts = (summary.films, summary.duplicate, summary.settled)
        present = [rank for rank, count in enumerate(counts) if count]
        names = pa.array([_DISPOSITIONS[rank].value for rank in present], pa.string())
        ids = pa.array([chunk.chunk_id for chunk in summary.chunks], pa.string())
        # Every row group has the whole dictionary, as one table that is written in groups has.
        places = np.array([present.index(rank) if rank in present else 0 for rank in range(len(counts))], np.int32)
        ends = np.cumsum([chunk.films for chunk in summary.chunks])
        first = 0
        for rows in _regrouped(self._spool):
            ranks = rows["rank"].to_numpy()
            numbers = np.searchsorted(ends, np.arange(first, first + len(ranks)), side="right").astype(np.int32)
            original = rows["original"].combine_chunks()
            columns = {
                "uri": rows["uri"],
                "version": rows["version"],
                "size": rows["size"],
                "disposition": pa.DictionaryArray.from_arrays(pa.array(places[ranks]), names),
                "chunk_id": pa.DictionaryArray.from_arrays(pa.array(numbers, mask=ranks != 0), ids),
                "attempt": rows["attempt"],
                "duplicate_of_uri": original,
                "duplicate_of_version": pc.if_else(pc.is_valid(original), rows["version"], None),
            }
            first += len(ranks)
            yield pa.table(columns).cast(PLAN)


@contextmanager
def drafted(
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
        Of schema `cxrlib.archive.reference_tables.REFERENCE_SCHEMA`, as listed; of a uri that comes twice the first counts.
    fill_ledger : callable
        Makes the table ``ledger`` in a database (`cxrlib.runs.ledger.fill_ledger`), for the same two digests.
    chunk_size : int
        Films per chunk; the last may hold fewer.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-plan-") as folder:
        spool = Path(folder) / "plan.arrow"
        counts = [0, 0, 0]
        naming = _ChunkNames(chunk_size, bundle_digest, config_digest)
        with spilling_database(folder) as database, pa.OSFile(str(spool), "wb") as file:
            fill_ledger(database)
            _join(database, listed)
            _count_once(database)
            _name_originals(database)
            with pa.ipc.new_stream(file, _SPOOLED) as writer:
                for batch in _ordered(database):
                    writer.write_batch(batch)
                    for rank, count in enumerate(np.bincount(batch["rank"].to_numpy(), minlength=len(counts))):
                        counts[rank] += int(count)
                    naming.add(batch)
        chunks = naming.chunks()
        yield Draft(Summary(tuple(chunks), counts[0], counts[1], counts[2]), spool)


def overtaken(
    films: Iterable[pa.Table], fill_ledger: Callable[[duckdb.DuckDBPyConnection], None]
) -> tuple[int, str | None]:
    """Return how many of `films` (`cxrlib.runs.plan.films_of`) the ledger has an outcome of that very try for, or
    settled.

    Of them also the first uri, or None where there are none.
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
    """Let one statement read `batches` as the view `name`; an error of theirs is raised as itself, not DuckDB's."""
    raised: list[Exception] = []

    def told() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except Exception as error:
            raised.append(error)
            raise

    database.register(name, pa.RecordBatchReader.from_batches(schema, told()))
    try:
        yield
    except duckdb.Error:
        if raised:
            raise raised[0] from None
        raise
    finally:
        database.unregister(name)


def _join(database: duckdb.DuckDBPyConnection, listed: Iterable[pa.RecordBatch]) -> None:
    """Make the table ``known``: what is listed, in order of ``place``, and what the ledger says of it."""
    schema = REFERENCE_SCHEMA.append(pa.field("place", pa.int64()))

    def placed() -> Iterator[pa.RecordBatch]:
        first = 0
        for batch in listed:
            place = pa.array(np.arange(first, first + batch.num_rows))
            first += batch.num_rows
            yield pa.RecordBatch.from_arrays([*batch.columns, place], schema=schema)

    with _streamed(database, "listed", schema, placed()):
        database.execute(
            f"""
            create table known as
            select uri, version, size, place, coalesce(settled, false) as settled, coalesce(stands, false) as stands,
                coalesce(attempts, 0)::smallint as attempts,
                regexp_matches(version, '{CONTENT_VERSION}') and coalesce(size, 0) > 0
                    and (coalesce(stands, false) or not coalesce(settled, false)) as able
            from listed left join ledger on ledger.key = {KEY}
            """  # noqa: S608 - our own constants
        )
    database.execute("drop table ledger")


def _count_once(database: duckdb.DuckDBPyConnection) -> None:
    """Keep the first row of each uri: sources that overlap list one object more than once.

    Ten million hashes of 64 bits are looked through for equal ones; the texts behind those are then compared.
    """
    database.execute(
        """
        create table again as select hash(uri) as hashed from known group by hashed having count(*) > 1;
        delete from known using again where hash(known.uri) = hashed and place not in (
            select min(place) from known semi join again on hash(known.uri) = hashed group by uri);
        drop table again
        """
    )


def _name_originals(database: duckdb.DuckDBPyConnection) -> None:
    """Make the table ``originals``: of objects with one content token and one size, which stands for the others.

    What an earlier run found in the bytes stands for all of them; else the one that was tried least often is scored,
    so that a copy which cannot be read does not hide one that can. Empty objects are not copies of one another: each
    is worth its own reject. An object that has no copy is not in the table.
    """
    database.execute(
        """
        create table again as
        select hash(version, size) as hashed from known where able group by hashed having count(*) > 1;
        create table originals as
        select version, size, first(uri order by case when stands then -1 else attempts end, uri) as original
        from known semi join again on hash(known.version, known.size) = hashed
        where able group by version, size having count(*) > 1;
        drop table again
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
                when able and original is not null and original <> uri then 1
                else 0 end as rank
            from known left join originals on known.version = originals.version and known.size = originals.size)
        order by rank, uri
    """
    for batch in database.sql(query).to_arrow_reader(ROW_GROUP):
        yield batch.cast(_SPOOLED)


def _regrouped(spool: Path) -> Iterator[pa.Table]:
    """Yield the spooled rows in tables of `ROW_GROUP`, the last of fewer; of no rows, one empty table."""
    with pa.OSFile(str(spool), "rb") as file, pa.ipc.open_stream(file) as batches:
        held, empty = _SPOOLED.empty_table(), True
        for batch in batches:
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
            while held.num_rows >= ROW_GROUP:
                yield held.slice(0, ROW_GROUP)
                held = held.slice(ROW_GROUP)
                empty = False
        if held.num_rows or empty:
            yield held


class _ChunkNames:
    """Cuts rows into chunks as they come: an id is 128 bits of SHA-256 over its references and the two digests.

    The try is part of a reference here: a chunk of second tries never has the name of the settled first.
    """

    def __init__(self, chunk_size: int, bundle_digest: str, config_digest: str) -> None:
        self._size = chunk_size
        self._head = f"{bundle_digest}\x1e{config_digest}\x1e".encode()
        self._digest = hashlib.sha256(self._head)
        self._films = 0
        self._chunks: list[Chunk] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Take the next rows of the plan; those that are not scored are passed over."""
        rows = rows.filter(pc.equal(rows["rank"], 0))
        if not rows.num_rows:
            return
        # Unit and record separators, which no store allows in a key, keep "a" + "bc" apart from "ab" + "c".
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
        """Return all chunks, the last one closed."""
        if self._films:
            self._close()
        return self._chunks

    def _close(self) -> None:
        offset = len(self._chunks) * self._size
        self._chunks.append(Chunk(self._digest.hexdigest()[:32], offset, self._films))
        self._digest, self._films = hashlib.sha256(self._head), 0
