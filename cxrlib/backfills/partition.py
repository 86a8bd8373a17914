"""Cut an archive of any size into the parts of a backfill, out of core.

The archive is listed once, as a stream, into a file on this machine; DuckDB counts each uri once, orders what is left
and cuts it, spilling to the same disk, so that ten million references need no more memory than one. What the listing
shows to be copies of one object goes into one part, whose plan names all but one of them as duplicates, as the plan of
a run over the whole archive would.

A date is looked for in the folders of a path, in the first place where one stands: ``2024/03/17``, ``2024-03-17``,
``2024_03_17`` or ``20240317``, or as much of it as there is. Digits that belong to a longer number, or stand between
dots as in a UID, are no date. What has none comes last, in either order.
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

#: More are refused: each part is a job of its own, and costs its start.
MAX_PARTS: Final = 10_000
#: Memory that DuckDB takes before it spills.
_MEMORY: Final = "1GB"
_UNDATED: Final = "undated"
_NO_FOLDER: Final = "(no folder)"
_MONTH: Final = "(0[1-9]|1[0-2])"
_DAY: Final = "(0[1-9]|[12][0-9]|3[01])"
#: RE2 has neither look-around nor back-reference, so each separator is spelt out.
_DATE: Final = (
    r"(?:^|[^0-9.])((?:19|20)[0-9]{2})"
    rf"(?:-{_MONTH}(?:-{_DAY})?|_{_MONTH}(?:_{_DAY})?|/{_MONTH}(?:/{_DAY})?|{_MONTH}{_DAY}?)?(?:[^0-9.]|$)"
)
_GROUPS: Final = ("y", "m1", "d1", "m2", "d2", "m3", "d3", "m4", "d4")
_PRECISION: Final = {CutBy.YEAR: 4, CutBy.MONTH: 7, CutBy.DAY: 10}


@dataclass(frozen=True, slots=True)
class Work:
    """Objects, and their bytes as listed."""

    objects: int
    bytes: int


class CutArchive:
    """An archive that is cut, on this machine's disk for as long as `cut_archive` lasts.

    Attributes
    ----------
    parts : tuple of PartEntry
        In order of work.
    listed, repeated : int
        References that the sources gave, and those of them whose uri was given before.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, cut: Cut, listed: int) -> None:
        self._database = database
        self.listed = listed
        self.parts = _parts(database, cut)
        self.repeated = listed - sum(entry.objects for entry in self.parts)

    def inventory(self, part: str) -> pa.Table:
        """Return what a part holds, of schema `cxr_schemas.backfill_manifest.INVENTORY`, sorted by uri."""
        return self._inventory("select uri, version_token, size from cut where part = ? order by uri", [_number(part)])

    def sample(self, count: int) -> pa.Table:
        """Return `count` objects (all, where there are fewer) that stand for the archive, sorted by uri.

        The archive is laid out by ending and size, which tell most of what a film costs to read (its syntax and its
        pixels), and every n-th object is taken. The same archive gives the same sample.
        """
        return self._inventory(
            """
            with laid as (
                select *, row_number() over (
                    order by regexp_extract(uri, '\\.[A-Za-z0-9]{1,5}$'), size, md5(uri)) - 1 as place,
                count(*) over () as total from cut)
            select uri, version_token, size from laid
            where total <= $count or place * $count // total <> (place - 1) * $count // total or place = 0 order by uri
            """,
            {"count": count},
        )

    def left(self, ledger: pa.Table) -> dict[str, Work]:
        """Return what of each part is not settled under `ledger` (`cxrlib.runs.ledger.LEDGER`); all parts are in it."""
        self._database.register("ledger", ledger)
        rows = self._database.execute(
            """
            select cut.part, count(*) filter (not coalesce(settled, false)),
                coalesce(sum(size) filter (not coalesce(settled, false)), 0)
            from cut left join ledger on cut.uri = ledger.uri and cut.version_token = ledger.version
            group by cut.part order by cut.part
            """
        ).fetchall()
        self._database.unregister("ledger")
        return {_name(number): Work(objects, int(total)) for number, objects, total in rows}

    def _inventory(self, query: str, values: Sequence[object] | Mapping[str, object]) -> pa.Table:
        return self._database.sql(query, params=values).to_arrow_table().cast(INVENTORY)


@contextmanager
def cut_archive(sources: Sequence[str], results: ResultsRoot, cut: Cut) -> Iterator[CutArchive]:
    """List `sources` and cut what they hold; what lies in the results root `results` is left out.

    Raises
    ------
    UsageError
        A source cannot be listed or lists nothing, or the cut makes more than `MAX_PARTS` parts.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-backfill-") as folder:
        spool = Path(folder) / "listed.parquet"
        listed = _spool(list_batches(sources), f"{results.root}/", spool)
        if listed == 0:
            raise UsageError("the sources list no object outside the results root; nothing is there to be scored")
        with duckdb.connect(
            str(Path(folder) / "cut.duckdb"), config={"memory_limit": _MEMORY, "temp_directory": f"{folder}/spill"}
        ) as database:
            _cut(database, spool, cut)
            yield CutArchive(database, cut, listed)


def _spool(batches: Iterable[pa.RecordBatch], inside: str, path: Path) -> int:
    """Write what was listed, and is not `inside`, to a file as it comes; return how much that is."""
    listed = 0
    schema = INVENTORY.append(pa.field("place", pa.int64()))
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            kept = batch.filter(pc.invert(pc.starts_with(batch["uri"], inside)))
            places = pa.array(range(listed, listed + kept.num_rows), pa.int64())
            writer.write_batch(pa.record_batch([kept["uri"], kept["version"], kept["size"], places], schema=schema))
            listed += kept.num_rows
    return listed


def _cut(database: duckdb.DuckDBPyConnection, spool: Path, cut: Cut) -> None:
    """Make the table ``cut``: every uri once, with its version, size and date, and the number of its part."""
    groups = ", ".join(f"'{name}'" for name in _GROUPS)
    direction = "desc" if cut.order is PartOrder.NEWEST else "asc"
    database.execute(
        f"""
        create table listed as
        select uri, arg_min(version_token, place) as version_token, arg_min(size, place) as size,
            regexp_extract(regexp_extract(uri, '^(.*/)', 1), $date, [{groups}]) as got
        from read_parquet($spool) group by uri
        """,  # noqa: S608 - our own constants
        {"date": _DATE, "spool": str(spool)},
    )
    database.execute(
        f"""
        create table labelled as
        select uri, version_token, size, date, {_label(cut.by)} as label from (
            select *, nullif(concat_ws('-', got.y, nullif(got.m1 || got.m2 || got.m3 || got.m4, ''),
                nullif(got.d1 || got.d2 || got.d3 || got.d4, '')), '') as date,
                string_split(regexp_extract(substr(uri, $below), '^(.*)/', 1), '/')[1:$depth] as folders from listed)
        """,  # noqa: S608
        {"below": len(_common_folder(database)) + 1, "depth": cut.depth},
    )
    database.execute(
        f"""
        create table placed as
        select *, row_number() over (
            order by label {direction} nulls last, date {direction} nulls last, uri {direction}) - 1 as place
        from labelled
        """  # noqa: S608
    )
    count = database.execute("select count(*) from placed").fetchall()[0][0]
    part_size = cut.part_size if cut.parts is None else math.ceil(count / cut.parts)
    # A copy takes the place of the first of its kind, and so its part.
    database.execute(
        """
        create table cut as
        with leaders as (
            select version_token, size, min(place) as place, arg_min(label, place) as label from placed
            where regexp_matches(version_token, $content) and size > 0
            group by version_token, size having count(*) > 1),
        starts as (select label, min(place) as start from placed group by label),
        led as (
            select uri, placed.version_token, placed.size, date, coalesce(leaders.place, placed.place) as place,
                case when leaders.place is null then placed.label else leaders.label end as label
            from placed left join leaders on
                placed.version_token = leaders.version_token and placed.size = leaders.size)
        select uri, version_token, size, date, led.label,
            dense_rank() over (order by start, (place - start) // $part_size) as part
        from led join starts on led.label is not distinct from starts.label
        order by part
        """,
        {"content": CONTENT_VERSION, "part_size": part_size},
    )


def _label(by: CutBy) -> str:
    """Return what SQL names the part of a row by; null where the row has no such name."""
    if by is CutBy.COUNT:
        return "''"
    return "nullif(array_to_string(folders, '/'), '')" if by is CutBy.PREFIX else f"date[:{_PRECISION[by]}]"


def _common_folder(database: duckdb.DuckDBPyConnection) -> str:
    """Return the deepest folder that holds every uri, with its slash: that of the first and the last of them."""
    ends = database.execute("select min(uri), max(uri) from listed").fetchall()[0]
    first, last = (str(uri).rpartition("/")[0].split("/") for uri in ends)
    shared = list(takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
    return "".join(f"{name}/" for name, _ in shared)


def _parts(database: duckdb.DuckDBPyConnection, cut: Cut) -> tuple[PartEntry, ...]:
    rows = database.execute(
        """
        select part, any_value(label), count(*), coalesce(sum(size), 0), min(date), max(date) from cut
        group by part order by part
        """
    ).fetchall()
    if len(rows) > MAX_PARTS:
        raise UsageError(
            f"expected at most {MAX_PARTS} parts; got {len(rows)}: cut by something coarser, or into larger parts"
        )
    labels = [_named(cut.by, label, first, last) for _, label, _, _, first, last in rows]
    pieces = {label: labels.count(label) for label in set(labels)}
    seen: dict[str, int] = {}
    entries = []
    for (number, _, objects, total, _, _), label in zip(rows, labels, strict=True):
        seen[label] = seen.get(label, 0) + 1
        said = f"{label} ({seen[label]} of {pieces[label]})" if pieces[label] > 1 else label
        entries.append(PartEntry(part=_name(number), label=said, objects=objects, bytes=int(total)))
    return tuple(entries)


def _named(by: CutBy, label: str | None, first: str | None, last: str | None) -> str:
    """Return what people call a part: what it was cut by, or the dates of what it holds."""
    if by is CutBy.PREFIX:
        return label or _NO_FOLDER
    if by is not CutBy.COUNT:
        return label or _UNDATED
    if first is None or last is None:
        return _UNDATED
    return first if first == last else f"{first} to {last}"


def _name(number: int) -> str:
    return f"p{number:04d}"


def _number(part: str) -> int:
    return int(part.removeprefix("p"))
