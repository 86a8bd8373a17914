"""Copy a results root into a few large sorted files: the same rows, quick to scan and easy to hand over.

A results root has two small objects for each chunk. That makes it safe to write and slow to read: ten million films are
eighty thousand objects. For each bundle, the copy has a few files of about a quarter of a gigabyte::

    OUT/scores/bundle=<name>-<digest8>/part-compact-00000.parquet    sorted by study date, then URI
    OUT/rejects/bundle=<name>-<digest8>/part-compact-00000.parquet   sorted by URI

Each group of `ROW_GROUP` rows has statistics, so that a scan for a month or a range of percentages skips most groups.

The copy is a results root like any other: `cxrlib.cohort.load`, ``cxr verify``, ``cxr status`` and a further
``cxr score --out`` accept it. For that:

- Rows are unchanged, including the ids of their runs. Plans, manifests and backfills are copied as they are.
- The name of a chunk's object holds the chunk id. For rows of a ``compact`` object, the plan of the row's run gives the
  chunk; a plan has every film once (`cxrlib.results.verify`).
- Chunks of a run that is not closed keep their objects and names, so that the run can be resumed in the copy too. The
  next compaction merges them.
- The scores and rejects files of one name are a pair, like those of a chunk. Where one is missing, an empty one is
  written.

Three things are not copied: overlays (drawings of films are not for sharing by default), leases, and rejects of a chunk
that was never settled, which do not count.

No part of the copy reads as a result before all of it is complete: files are staged below ``_compact/`` and moved to
their places at the end. While ``_compact/unfinished.json`` exists, this product refuses to read the root. The same
source gives the same bytes.
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
from cxrlib.results.parquet import in_groups_of, parquet_bytes, writer_options
from cxrlib.runs import lease
from cxrlib.runs.lease import Clock
from cxrlib.runs.plan import read_chunks
from cxrlib.runs.scratch_database import isolated_database

#: Rows of one row group, which has its own statistics. A month of a large archive is a few groups.
ROW_GROUP: Final = 32_768
#: Size at which a file is closed.
PART_BYTES: Final = 256 * 2**20
#: Folders that are copied as they are, in the order in which they are published. Rejects and scores follow.
_RECORDS: Final = (layout.RUNS, layout.BACKFILLS, layout.SELECTIONS)
_SCHEMAS: Final = {RowKind.SCORES: SCORES, RowKind.REJECTS: REJECTS}
#: Sort order of the rows of a bundle. No two rows of a valid root are equal in all these columns.
_ORDER: Final = {
    RowKind.SCORES: ("study_date", "uri", "version", "config_digest", "run_id", "content_digest"),
    RowKind.REJECTS: ("uri", "version", "attempt", "config_digest", "run_id", "reason"),
}
#: Columns without statistics, because nobody filters by a range of them.
_UNSEARCHED: Final = ("content_digest", "lung_rle", "infection_rle", "localisation_map", "message")


@dataclass(frozen=True, slots=True)
class Compaction:
    """Content of a finished copy.

    Attributes
    ----------
    root : str
        Of the copy.
    score_rows, reject_rows : int
    objects_before, objects_after : int
        Objects of scores and rejects.
    bytes_after : int
        Size of the sorted files.
    open_runs : tuple of str
        Runs that are not closed; their chunks are copied as they are.
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
    """Copy the results root `source` to the empty root `out`. `source` is only read.

    Memory does not grow with the rows: it holds about two files, and what DuckDB uses before it spills to disk.

    Parameters
    ----------
    part_bytes : int
        Size at which a file is closed, to within a row group.
    clock : Clock, optional
        Clock for watching the leases of `source`; tests replace it.

    Raises
    ------
    UsageError
        `source` has no results, or `out` is not empty or is inside `source`.
    BusyError
        A run writes into `source`.
    RunError
        A stored object cannot be read, or the copy has another number of rows.
    """
    old, new = ResultsRoot.at(source), ResultsRoot.at(out)
    _check_roots(old, new, clock)
    if not new.begin_copy(json.dumps({"copy_of": old.root}).encode()):
        raise UsageError(f"another process is copying a results root to {new.root}")
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


def _check_roots(old: ResultsRoot, new: ResultsRoot, clock: Clock | None) -> None:
    old.require_complete()
    if not old.runs():
        raise UsageError(f"expected a results root with a folder {layout.RUNS}; got none at {old.root}")
    if f"{new.root}/".startswith(f"{old.root}/"):
        raise UsageError(f"expected a copy outside of {old.root}; got {new.root}")
    if got := new.names(""):
        raise UsageError(f"expected {new.root} to be empty; got {', '.join(got[:3])}")
    if alive := lease.holders(old, clock):
        raise BusyError(
            f"{old.root} is being written by run {alive[0].run_id} on {alive[0].host}, process {alive[0].process.pid}; "
            "nothing was done: copy the root when the run has ended"
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
    """A copy that is being made, and counts of what is staged so far.

    `open_chunks` are the ids of the chunks of open runs, whose objects are copied as they are.
    """

    old: ResultsRoot
    new: ResultsRoot
    open_chunks: frozenset[str]
    part_bytes: int
    rows: Counter[RowKind] = field(default_factory=Counter)
    before: int = 0
    after: int = 0
    written: int = 0

    def add_object(self, key: str) -> None:
        data = self.old.get(key)
        if data is None:
            raise RunError(
                f"{self.old.uri(key)} was deleted during the copy; remove {self.new.root} and run `cxr compact` again"
            )
        self.new.put(layout.staged_key(key), data)

    def add_partition(self, partition: str) -> None:
        files: Counter[RowKind] = Counter()
        for kind in RowKind:
            names = stored_rows.settled_chunks(self.old, kind, partition)
            self.before += len(names)
            for name in (name for name in names if name in self.open_chunks):
                self.add_object(layout.chunk_key(kind, partition, name))
                self.rows[kind] += stored_rows.count_rows(self.old, kind, partition, name)
                self.after += 1
            rows = self._counted(
                _sorted(self.old, kind, partition, [name for name in names if name not in self.open_chunks]), kind
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
    """Yield the rows of the named objects, sorted, in tables of `ROW_GROUP` rows; the last may have fewer.

    Raises
    ------
    RunError
        The number of sorted rows differs from the number read.
    """
    read = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for table in stored_rows.read_tables(results, kind, partition, names):
            read += table.num_rows
            yield from table.to_batches()

    schema = stored_rows.row_schema(kind)
    order = ", ".join(f'"{name}" ASC NULLS LAST' for name in _ORDER[kind])
    written = 0
    with isolated_database() as database:
        database.register("given", pa.RecordBatchReader.from_batches(schema, counted()))
        ordered = database.sql(f"FROM given ORDER BY {order}").to_arrow_reader(ROW_GROUP)
        for table in in_groups_of(ROW_GROUP, ordered):
            written += table.num_rows
            yield table.combine_chunks().cast(schema)
    if written != read:
        raise RunError(
            f"{results.root}: expected {read} rows of {kind} of {partition} in the copy; got {written}: remove the "
            "incomplete copy and run `cxr compact` again"
        )


def _files(tables: Iterator[pa.Table], kind: RowKind, part_bytes: int) -> Iterator[bytes]:
    """Yield Parquet files of the tables, one row group each; a file is closed when it reaches `part_bytes`."""
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
        table[column.name].dictionary_encode().cast(column.type)
        if pa.types.is_dictionary(column.type)
        else table[column.name]
        for column in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
