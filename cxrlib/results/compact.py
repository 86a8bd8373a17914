"""A copy of a results root in few large sorted files: the same rows, quick to scan and easy to hand on.

A results root has two small objects for each chunk, which is what makes it safe to write and slow to read: ten million
films are eighty thousand objects. The copy has, for each bundle, a few files of about a quarter of a gigabyte::

    OUT/scores/bundle=<name>-<digest8>/part-compact-00000.parquet    sorted by study date, then uri
    OUT/rejects/bundle=<name>-<digest8>/part-compact-00000.parquet   sorted by uri

with statistics of each group of `ROW_GROUP` rows, so that a scan for a month or a range of percentages passes the rest
over. It is a results root like any other: `cxrlib.results.cohort.load`, `cxr verify`, `cxr status` and a further
``cxr score --out`` take it as they take the old one. What makes that so:

- Rows are unchanged, down to the ids of their runs; plans, manifests and backfills are copied as they are.
- A row's chunk was told by its object's name. Where the name says ``compact``, the plan of the row's run tells it: a
  plan has every film once (`cxrlib.results.verify`).
- Chunks of a run that is not closed keep their objects and names, so that the run can be taken up by its id in the copy
  as in the original. The next compaction takes them in.
- The two files of one name are a pair, as those of a chunk are; what one of them lacks is an empty file.

Not copied: overlays (drawings of films are not for sharing by default), leases, and rejects of a chunk that was never
settled, which count nowhere.

Nothing of the copy reads as a result before it is whole: files are made below ``_compact/`` and brought to their places
at the end, and as long as ``_compact/unfinished.json`` stands, this product refuses to read the root. The same source
gives the same bytes.
"""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from cxr_schemas import REJECTS, SCORES
from cxrlib.errors import BusyError, RunError, UsageError
from cxrlib.results import layout
from cxrlib.results import rows as stored_rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.parquet import parquet_bytes, writer_options
from cxrlib.runs import lease
from cxrlib.runs.lease import Clock
from cxrlib.runs.plan import read_chunks
from cxrlib.runs.scratch_database import isolated_database

#: Rows that statistics are kept for; a month of a large archive is a few of them.
ROW_GROUP: Final = 32_768
#: A file is closed once it is that large.
PART_BYTES: Final = 256 * 2**20
#: What is copied as it is, in the order in which it comes to its place; scores are last.
_RECORDS: Final = (layout.RUNS, layout.BACKFILLS, layout.SELECTIONS)
_SCHEMAS: Final = {RowKind.SCORES: SCORES, RowKind.REJECTS: REJECTS}
#: By what the rows of a bundle are sorted: no two rows of a sound root are alike in all of it.
_ORDER: Final = {
    RowKind.SCORES: ("study_date", "uri", "version", "config_digest", "run_id", "content_digest"),
    RowKind.REJECTS: ("uri", "version", "attempt", "config_digest", "run_id", "reason"),
}
#: Columns nobody looks for a range of; statistics of them would only be carried along.
_UNSEARCHED: Final = ("content_digest", "lung_rle", "infection_rle", "localisation_map", "message")


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a copy holds.

    Attributes
    ----------
    root : str
        Of the copy.
    score_rows, reject_rows : int
    objects_before, objects_after : int
        Objects of rows, scores and rejects together.
    bytes_after : int
        Of the sorted files.
    open_runs : tuple of str
        Runs that are not closed: their chunks stand in the copy as they did.
    overlays_left_out : int
        Objects below ``overlays/`` that were not copied.
    """

    root: str
    score_rows: int
    reject_rows: int
    objects_before: int
    objects_after: int
    bytes_after: int
    open_runs: tuple[str, ...]
    overlays_left_out: int


def compact(source: str, out: str, *, part_bytes: int = PART_BYTES, clock: Clock | None = None) -> Compaction:
    """Copy the results root `source` to the empty root `out`; `source` is only read.

    Memory does not grow with the rows: about two files' worth, and what DuckDB takes before it sorts on the local disk.

    Parameters
    ----------
    part_bytes : int
        Size at which a file is closed, to within a row group.
    clock : Clock, optional
        By which the leases of `source` are watched.

    Raises
    ------
    UsageError
        `source` holds no results, or `out` holds anything, or lies in `source`.
    BusyError
        A run into `source` is under way.
    RunError
        A stored object cannot be read, or rows were lost on the way.
    """
    old, new = ResultsRoot.at(source), ResultsRoot.at(out)
    _require_fit(old, new, clock)
    if not new.begin_copy(json.dumps({"copy_of": old.root}).encode()):
        raise UsageError(f"{new.root} is being made a copy of another results root at this moment")
    open_runs = {run_id: _chunk_ids(old, run_id) for run_id in old.runs() if not _is_closed(old, run_id)}
    copy = _Copy(old, new, frozenset(itertools.chain.from_iterable(open_runs.values())), part_bytes)
    for partition in old.partitions():
        copy.add_partition(partition)
    for folder in _RECORDS:
        for key in old.keys(folder):
            copy.add_object(key)
    new.publish([*_RECORDS, RowKind.REJECTS.value, RowKind.SCORES.value])
    return Compaction(
        root=new.root,
        score_rows=copy.rows[RowKind.SCORES],
        reject_rows=copy.rows[RowKind.REJECTS],
        objects_before=copy.before,
        objects_after=copy.after,
        bytes_after=copy.written,
        open_runs=tuple(sorted(open_runs)),
        overlays_left_out=len(old.keys(layout.OVERLAYS)),
    )


def _require_fit(old: ResultsRoot, new: ResultsRoot, clock: Clock | None) -> None:
    old.require_complete()
    if not old.runs():
        raise UsageError(f"expected a results root with a folder _runs; got none at {old.root}")
    if f"{new.root}/".startswith(f"{old.root}/"):
        raise UsageError(f"the copy must lie outside of {old.root}; got {new.root}")
    if got := new.names(""):
        raise UsageError(f"expected nothing at {new.root}, where the copy is to be made; got {', '.join(got[:3])}")
    if alive := lease.holders(old, clock):
        raise BusyError(
            f"{old.root} is being written by run {alive[0].run_id} on {alive[0].host}, process {alive[0].process.pid}; "
            "nothing was done: make the copy when it has ended"
        )


def _is_closed(results: ResultsRoot, run_id: str) -> bool:
    return layout.MANIFEST_NAME in results.names(layout.run_folder(run_id))


def _chunk_ids(results: ResultsRoot, run_id: str) -> list[str]:
    try:
        return [chunk.chunk_id for chunk in read_chunks(results.uri(layout.plan_key(run_id)))]
    except FileNotFoundError:
        return []
    except (OSError, pa.ArrowException) as error:
        uri = results.uri(layout.plan_key(run_id))
        raise RunError(f"{uri}: expected a plan of this product; got {type(error).__name__}") from error


@dataclass(slots=True)
class _Copy:
    """A copy in the making: what is staged so far, and how much of it.

    `kept` are the ids of the chunks whose objects stay as they are.
    """

    old: ResultsRoot
    new: ResultsRoot
    kept: frozenset[str]
    part_bytes: int
    rows: Counter[RowKind] = field(default_factory=Counter)
    before: int = 0
    after: int = 0
    written: int = 0

    def add_object(self, key: str) -> None:
        data = self.old.get(key)
        if data is None:
            raise RunError(
                f"{self.old.uri(key)} went away while the copy was made; remove {self.new.root} and make it anew"
            )
        self.new.put(layout.staged_key(key), data)

    def add_partition(self, partition: str) -> None:
        files: Counter[RowKind] = Counter()
        for kind in RowKind:
            names = stored_rows.settled_chunks(self.old, kind, partition)
            self.before += len(names)
            for name in (name for name in names if name in self.kept):
                self.add_object(layout.chunk_key(kind, partition, name))
                self.rows[kind] += stored_rows.count_rows(self.old, kind, partition, name)
                self.after += 1
            rows = self._counted(
                _sorted(self.old, kind, partition, [name for name in names if name not in self.kept]), kind
            )
            for data in _files(rows, kind, self.part_bytes):
                self._stage(kind, partition, files[kind], data)
                files[kind] += 1
        pairs = max(files.values(), default=0)
        for kind in RowKind:
            for number in range(files[kind], pairs):
                self._stage(kind, partition, number, parquet_bytes(_SCHEMAS[kind].empty_table()))

    def _counted(self, tables: Iterator[pa.Table], kind: RowKind) -> Iterator[pa.Table]:
        for table in tables:
            self.rows[kind] += table.num_rows
            yield table

    def _stage(self, kind: RowKind, partition: str, number: int, data: bytes) -> None:
        self.new.put(layout.staged_key(layout.chunk_key(kind, partition, layout.compact_id(number))), data)
        self.after += 1
        self.written += len(data)


def _sorted(results: ResultsRoot, kind: RowKind, partition: str, names: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of all the objects named, sorted, in tables of `ROW_GROUP` rows, the last of fewer.

    Raises
    ------
    RunError
        Another number of rows came out than went in.
    """
    went_in = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal went_in
        for table in stored_rows.read_tables(results, kind, partition, names):
            went_in += table.num_rows
            yield from table.to_batches()

    schema = stored_rows.row_schema(kind)
    order = ", ".join(f'"{name}" ASC NULLS LAST' for name in _ORDER[kind])
    came_out = 0
    with isolated_database() as database:
        database.register("given", pa.RecordBatchReader.from_batches(schema, counted()))
        ordered = database.sql(f"FROM given ORDER BY {order}").to_arrow_reader(ROW_GROUP)
        for table in _regrouped(ordered):
            came_out += table.num_rows
            yield table.cast(schema)
    if came_out != went_in:
        raise RunError(
            f"{results.root}: expected {went_in} rows of {kind} of {partition} in the copy; got {came_out}: remove the "
            "unfinished copy and make it anew"
        )


def _regrouped(batches: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Cut a stream at fixed counts of rows, so that the bytes of a file do not hang on how the rows came."""
    held: list[pa.Table] = []
    count = 0
    for batch in batches:
        held.append(pa.Table.from_batches([batch]))
        count += batch.num_rows
        while count >= ROW_GROUP:
            joined = pa.concat_tables(held)
            yield joined.slice(0, ROW_GROUP).combine_chunks()
            held, count = [joined.slice(ROW_GROUP)], count - ROW_GROUP
    if count:
        yield pa.concat_tables(held).combine_chunks()


def _files(tables: Iterator[pa.Table], kind: RowKind, part_bytes: int) -> Iterator[bytes]:
    """Write tables into Parquet files, one row group each; a file is closed when it has reached `part_bytes`."""
    schema = _SCHEMAS[kind]
    ordering = [(name, "ascending") for name in _ORDER[kind]]
    options = writer_options(schema) | {
        "write_statistics": [name for name in schema.names if name not in _UNSEARCHED],
        "write_page_index": True,
        "sorting_columns": pq.SortingColumn.from_ordering(schema, ordering, null_placement="at_end"),
    }
    for first in tables:
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, schema, **options) as writer:
            writer.write_table(_encoded(first, schema), row_group_size=ROW_GROUP)
            while sink.tell() < part_bytes and (table := next(tables, None)) is not None:
                writer.write_table(_encoded(table, schema), row_group_size=ROW_GROUP)
        yield sink.getvalue()


def _encoded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[of.name].dictionary_encode().cast(of.type) if pa.types.is_dictionary(of.type) else table[of.name]
        for of in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
