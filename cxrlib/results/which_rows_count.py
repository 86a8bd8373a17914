"""Which rows of a results root count. This is the only definition; all readers of scores use it.

A results root keeps every row that was ever settled. These of them count:

1. *Settled chunks.* Rows whose chunk is settled (`cxrlib.results.rows.settled_chunks`).
2. *Newest settings.* Of the rows of a bundle, those made under the settings (``config_digest``) of its newest run.
3. *Newest version.* Of the rows of one URI under one bundle, that of the newest run. So after a film was replaced, only
   the row of the new object counts.
4. *One of copies.* Of films with equal content (``content_digest``) under one bundle, the one whose URI sorts first.

`cxrlib.cohort.load` applies all four rules. ``cxr compare`` and ``cxr rescore`` look films up by URI and apply the
first three (`fill_current_rows`).

The age of a run is the time at which it was planned; a run whose records were deleted is older than all others. Runs of
the same age are ordered by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import duckdb
import pyarrow as pa
from pydantic import ValidationError

from cxr_schemas import RunManifest
from cxrlib.errors import RunError
from cxrlib.results import layout, rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.plan import read_plan_summary

#: Columns that the rules look at.
DECIDING: Final = ("uri", "version", "content_digest", "bundle_digest", "config_digest", "run_id")
_BEFORE_ALL: Final = datetime.min.replace(tzinfo=UTC)

#: The settings of the newest run of each bundle.
_NEWEST_SETTINGS: Final = """
    create temp table newest_settings as
    select bundle_digest, arg_max(config_digest, age) as config_digest
    from (select distinct bundle_digest, config_digest, run_id from {rows}) join run_ages using (run_id)
    group by bundle_digest
"""
_OTHER_SETTINGS: Final = """
    insert into left_out
    select row_index from {rows} anti join newest_settings using (bundle_digest, config_digest)
"""
#: Rows that share `key` with a better one. Only keys whose hash occurs more than once are sorted: they are few.
_ALL_BUT_THE_FIRST: Final = """
    insert into left_out
    with remaining as (from {rows} anti join left_out using (row_index)),
        repeated as (select hash({key}) as hashed from remaining group by hashed having count(*) > 1),
        ranked as (
            select row_index, row_number() over (partition by {key} order by {order}) as rank
            from remaining join run_ages using (run_id) where hash({key}) in (select hashed from repeated))
    select row_index from ranked where rank > 1
"""
_NEWEST_VERSION: Final = {"key": "bundle_digest, uri", "order": "age desc, version desc, row_index desc"}
_ONE_OF_COPIES: Final = {"key": "bundle_digest, content_digest", "order": "uri, row_index"}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Rows that do not count, by the rule that excludes them.

    Attributes
    ----------
    other_settings : int
        Made under other settings than those of their bundle's newest run.
    replaced : int
        Of objects that were replaced since.
    copies : int
        Of films whose content another URI has too.
    """

    other_settings: int
    replaced: int
    copies: int


def fill_left_out(
    database: duckdb.DuckDBPyConnection, rows_of: str, results: ResultsRoot, *, copies_count: bool
) -> LeftOut:
    """Make the table ``left_out``: the ``row_index`` of each row of `rows_of` that does not count.

    Parameters
    ----------
    database : DuckDBPyConnection
    rows_of : str
        Table or view of rows of settled chunks, with the columns `DECIDING` and ``row_index``, the number of the row.
    results : ResultsRoot
        Its plans and manifests hold the ages of the runs.
    copies_count : bool
        Do not apply rule 4; ``content_digest`` is then not needed.

    Raises
    ------
    RunError
        A plan or a manifest cannot be read.
    """

    def left_out() -> int:
        return int(database.execute("select count(*) from left_out").fetchall()[0][0])

    runs = database.execute(f"select distinct run_id from {rows_of}").fetchall()  # noqa: S608 - our own table
    register_run_ages(database, results, [run_id for (run_id,) in runs])
    database.execute("create temp table left_out (row_index bigint)")
    database.execute(_NEWEST_SETTINGS.format(rows=rows_of))
    database.execute(_OTHER_SETTINGS.format(rows=rows_of))
    other_settings = left_out()
    database.execute(_ALL_BUT_THE_FIRST.format(rows=rows_of, **_NEWEST_VERSION))
    replaced = left_out() - other_settings
    if not copies_count:
        database.execute(_ALL_BUT_THE_FIRST.format(rows=rows_of, **_ONE_OF_COPIES))
    copies = left_out() - other_settings - replaced
    database.execute("drop table newest_settings")
    database.unregister("run_ages")
    return LeftOut(other_settings, replaced, copies)


def fill_current_rows(
    database: duckdb.DuckDBPyConnection, table: str, results: ResultsRoot, partition: str, columns: Sequence[str]
) -> str | None:
    """Make `table` of one bundle's score rows that count, copies included, with `columns` and the deciding columns.

    Memory does not grow with the rows: DuckDB spills them to disk.

    Returns
    -------
    str or None
        Digest of the settings that the rows were made under; None where there is no row.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    deciding = [name for name in DECIDING if name != "content_digest"]
    chunks = rows.settled_chunks(results, RowKind.SCORES, partition)
    read = list(dict.fromkeys([*deciding, *columns]))
    database.register("given", rows.batch_reader(results, RowKind.SCORES, partition, chunks, read))
    database.execute("create temp table stored as select * from given")
    database.unregister("given")
    database.execute("create temp view numbered as select *, rowid as row_index from stored")
    fill_left_out(database, "numbered", results, copies_count=True)
    for statement in (
        "drop view numbered",
        "delete from stored where rowid in (select row_index from left_out)",
        "drop table left_out",
        f'alter table stored rename to "{table}"',
    ):
        database.execute(statement)
    settings = database.execute(f'select any_value(config_digest) from "{table}"').fetchone()  # noqa: S608
    return None if settings is None or settings[0] is None else str(settings[0])


def run_ages(results: ResultsRoot, run_ids: Iterable[str]) -> dict[str, int]:
    """Return the rank of each run by age, the oldest first.

    Raises
    ------
    RunError
        A plan or a manifest cannot be read.
    """
    planned = {run_id: _planned_at(results, run_id) for run_id in run_ids}
    return {run_id: rank for rank, run_id in enumerate(sorted(planned, key=lambda run_id: (planned[run_id], run_id)))}


def register_run_ages(database: duckdb.DuckDBPyConnection, results: ResultsRoot, run_ids: Iterable[str]) -> None:
    """Register the view ``run_ages`` (run_id, age) in a database: `run_ages` of these runs."""
    ages = run_ages(results, run_ids)
    columns = {"run_id": pa.array(list(ages), pa.string()), "age": pa.array(list(ages.values()), pa.int64())}
    database.register("run_ages", pa.table(columns))


def _planned_at(results: ResultsRoot, run_id: str) -> datetime:
    key = layout.manifest_key(run_id)
    data = results.get(key)
    if data is not None:
        try:
            return _aware(RunManifest.model_validate_json(data).planned_at)
        except ValidationError as error:
            raise RunError(f"{results.uri(key)}: expected a manifest of this product") from error
    plan = read_plan_summary(results, run_id)
    return _BEFORE_ALL if plan is None else _aware(plan[1].planned_moment)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
