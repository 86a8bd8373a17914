"""Split an archive of any size into the parts of a backfill, without holding it in memory.

The archive is listed once, as a stream, into a file on this machine. DuckDB removes repeated URIs, sorts the rest and
splits it, and spills to the same disk. So ten million references need no more memory than one. Objects that the listing
shows to be copies of each other go into one part: its plan then names all but one of them as duplicates, as the plan of
a run over the whole archive would.

Dates come from the folders of a path: the first of ``2024/03/17``, ``2024-03-17``, ``2024_03_17`` or ``20240317``, or
its year or year and month alone. Digits of a longer number, or between dots as in a UID, are not a date. Objects
without a date come last, whatever the order.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cxr_schemas import Cut, CutBy, PartEntry, PartOrder
from cxr_schemas.backfill_manifest import INVENTORY
from cxrlib.archive.filesystems import CONTENT_VERSION
from cxrlib.archive.listing import list_batches
from cxrlib.errors import UsageError
from cxrlib.results.objects import ResultsRoot

#: Upper limit, since each part is a job and takes time to start.
MAX_PARTS: Final = 10_000
#: Memory that DuckDB uses before it spills to disk.
_MEMORY: Final = "1GB"
_UNDATED: Final = "undated"
_NO_FOLDER: Final = "(no folder)"
_MONTH: Final = "(0[1-9]|1[0-2])"
_DAY: Final = "(0[1-9]|[12][0-9]|3[01])"
#: RE2 has neither look-around nor back-references, so each separator has its own alternative.
_DATE: Final = (
    r"(?:^|[^0-9.])((?:19|20)[0-9]{2})"
    rf"(?:-{_MONTH}(?:-{_DAY})?|_{_MONTH}(?:_{_DAY})?|/{_MONTH}(?:/{_DAY})?|{_MONTH}{_DAY}?)?(?:[^0-9.]|$)"
)
_GROUPS: Final = ("y", "m1", "d1", "m2", "d2", "m3", "d3", "m4", "d4")
_PRECISION: Final = {CutBy.YEAR: 4, CutBy.MONTH: 7, CutBy.DAY: 10}


@dataclass(frozen=True, slots=True)
class ObjectTotals:
    """A number of objects, and their bytes as listed."""

    objects: int
    bytes: int


class SplitArchive:
    """An archive split into parts. It is on this machine's disk while the block of `split_archive` runs.

    Attributes
    ----------
    parts : tuple of PartEntry
        In the order in which they are scored.
    listed, repeated : int
        References that the sources list, and how many of them have the URI of an earlier one.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, cut: Cut, listed: int) -> None:
        self._database = database
        self.listed = listed
        self.parts = _parts(database, cut)
        self.repeated = listed - sum(entry.objects for entry in self.parts)

    def inventory(self, part: str) -> pa.Table:
        """Return the objects of a part, of schema `cxr_schemas.backfill_manifest.INVENTORY`, sorted by URI."""
        return self._inventory(
            "select uri, version_token, size from parted where part = ? order by uri", [_part_number(part)]
        )

    def sample(self, count: int) -> pa.Table:
        """Return `count` objects (all, where there are fewer) that represent the archive, sorted by URI.

        The objects are sorted by file extension and size, on which the time to read a film depends most, and every n-th
        one is taken. The same archive gives the same sample.
        """
        return self._inventory(
            """
            with ordered as (
                select *, row_number() over (
                    order by regexp_extract(uri, '\\.[A-Za-z0-9]{1,5}$'), size, md5(uri)) - 1 as row_index,
                count(*) over () as total from parted)
            select uri, version_token, size from ordered
            where total <= $count or row_index = 0 or row_index * $count // total <> (row_index - 1) * $count // total
            order by uri
            """,
            {"count": count},
        )

    def unsettled(self, ledger: pa.Table) -> dict[str, ObjectTotals]:
        """Return how much of each part is not settled in `ledger`, of schema `cxrlib.runs.ledger.LEDGER`."""
        self._database.register("ledger", ledger)
        rows = self._database.execute(
            """
            select parted.part, count(*) filter (not coalesce(settled, false)),
                coalesce(sum(size) filter (not coalesce(settled, false)), 0)
            from parted left join ledger on parted.uri = ledger.uri and parted.version_token = ledger.version
            group by parted.part order by parted.part
            """
        ).fetchall()
        self._database.unregister("ledger")
        return {_part_name(number): ObjectTotals(objects, int(total)) for number, objects, total in rows}

    def _inventory(self, query: str, values: Sequence[object] | Mapping[str, object]) -> pa.Table:
        return self._database.sql(query, params=values).to_arrow_table().cast(INVENTORY)


@contextmanager
def split_archive(sources: Sequence[str], results: ResultsRoot, cut: Cut) -> Iterator[SplitArchive]:
    """List `sources` and split what they hold into parts. Objects in the results root `results` are left out.

    Raises
    ------
    UsageError
        A source cannot be listed, nothing is listed, or there would be more than `MAX_PARTS` parts.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-backfill-") as folder:
        spool = Path(folder) / "listed.parquet"
        listed = _spool(list_batches(sources), f"{results.root}/", spool)
        if listed == 0:
            raise UsageError("the sources list no object outside the results root: there is nothing to score")
        with duckdb.connect(
            str(Path(folder) / "parts.duckdb"), config={"memory_limit": _MEMORY, "temp_directory": f"{folder}/spill"}
        ) as database:
            _split(database, spool, cut)
            yield SplitArchive(database, cut, listed)


def _spool(batches: Iterable[pa.RecordBatch], inside: str, path: Path) -> int:
    """Write the listed objects that are not `inside` to a file; return their number."""
    listed = 0
    schema = INVENTORY.append(pa.field("row_index", pa.int64()))
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            outside = batch.filter(pc.invert(pc.starts_with(batch["uri"], inside)))
            indices = pa.array(range(listed, listed + outside.num_rows), pa.int64())
            writer.write_batch(
                pa.record_batch([outside["uri"], outside["version"], outside["size"], indices], schema=schema)
            )
            listed += outside.num_rows
    return listed


def _split(database: duckdb.DuckDBPyConnection, spool: Path, cut: Cut) -> None:
    """Make the table ``parted``: every URI once, with its version, size and date, and the number of its part."""
    groups = ", ".join(f"'{name}'" for name in _GROUPS)
    direction = "desc" if cut.order is PartOrder.NEWEST else "asc"
    database.execute(
        f"""
        create table listed as
        select uri, arg_min(version_token, row_index) as version_token, arg_min(size, row_index) as size,
            regexp_extract(regexp_extract(uri, '^(.*/)', 1), $date, [{groups}]) as found
        from read_parquet($spool) group by uri
        """,  # noqa: S608 - our own constants
        {"date": _DATE, "spool": str(spool)},
    )
    database.execute(
        f"""
        create table labelled as
        select uri, version_token, size, date, {_label_sql(cut.by)} as label from (
            select *, nullif(concat_ws('-', found.y, nullif(found.m1 || found.m2 || found.m3 || found.m4, ''),
                nullif(found.d1 || found.d2 || found.d3 || found.d4, '')), '') as date,
                string_split(regexp_extract(substr(uri, $below), '^(.*)/', 1), '/')[1:$depth] as folders from listed)
        """,  # noqa: S608
        {"below": len(_common_folder(database)) + 1, "depth": cut.depth},
    )
    database.execute(
        f"""
        create table placed as
        select *, row_number() over (
            order by label {direction} nulls last, date {direction} nulls last, uri {direction}) - 1 as row_index
        from labelled
        """  # noqa: S608
    )
    count = database.execute("select count(*) from placed").fetchall()[0][0]
    part_size = cut.part_size if cut.parts is None else math.ceil(count / cut.parts)
    # A copy goes where the first object of the same content goes.
    database.execute(
        """
        create table parted as
        with copies as (
            select version_token, size, min(row_index) as row_index, arg_min(label, row_index) as label from placed
            where regexp_matches(version_token, $content) and size > 0
            group by version_token, size having count(*) > 1),
        starts as (select label, min(row_index) as start from placed group by label),
        grouped as (
            select uri, placed.version_token, placed.size, date,
                coalesce(copies.row_index, placed.row_index) as row_index,
                case when copies.row_index is null then placed.label else copies.label end as label
            from placed left join copies on
                placed.version_token = copies.version_token and placed.size = copies.size)
        select uri, version_token, size, date, grouped.label,
            dense_rank() over (order by start, (row_index - start) // $part_size) as part
        from grouped join starts on grouped.label is not distinct from starts.label
        order by part
        """,
        {"content": CONTENT_VERSION, "part_size": part_size},
    )


def _label_sql(by: CutBy) -> str:
    """Return the SQL expression for the label of a row's part; null where the row has none."""
    if by is CutBy.COUNT:
        return "''"
    return "nullif(array_to_string(folders, '/'), '')" if by is CutBy.PREFIX else f"date[:{_PRECISION[by]}]"


def _common_folder(database: duckdb.DuckDBPyConnection) -> str:
    """Return the deepest folder that holds every URI, with its slash. The first and the last URI determine it."""
    ends = database.execute("select min(uri), max(uri) from listed").fetchall()[0]
    first, last = (str(uri).rpartition("/")[0].split("/") for uri in ends)
    shared = list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return "".join(f"{name}/" for name, _ in shared)


def _parts(database: duckdb.DuckDBPyConnection, cut: Cut) -> tuple[PartEntry, ...]:
    rows = database.execute(
        """
        select part, any_value(label), count(*), coalesce(sum(size), 0), min(date), max(date) from parted
        group by part order by part
        """
    ).fetchall()
    if len(rows) > MAX_PARTS:
        raise UsageError(
            f"expected at most {MAX_PARTS} parts; got {len(rows)}: split by a longer period, or into larger parts"
        )
    labels = [_part_label(cut.by, label, first, last) for _, label, _, _, first, last in rows]
    pieces = {label: labels.count(label) for label in set(labels)}
    numbered: dict[str, int] = {}
    entries = []
    for (number, _, objects, total, _, _), label in zip(rows, labels, strict=True):
        numbered[label] = numbered.get(label, 0) + 1
        shown = f"{label} ({numbered[label]} of {pieces[label]})" if pieces[label] > 1 else label
        entries.append(PartEntry(part=_part_name(number), label=shown, objects=objects, bytes=int(total)))
    return tuple(entries)


def _part_label(by: CutBy, label: str | None, first: str | None, last: str | None) -> str:
    """Return the label of a part for people: the folder or period that it was split by, or the dates that it spans."""
    if by is CutBy.PREFIX:
        return label or _NO_FOLDER
    if by is not CutBy.COUNT:
        return label or _UNDATED
    if first is None or last is None:
        return _UNDATED
    return first if first == last else f"{first} to {last}"


def _part_name(number: int) -> str:
    return f"p{number:04d}"


def _part_number(part: str) -> int:
    return int(part.removeprefix("p"))
