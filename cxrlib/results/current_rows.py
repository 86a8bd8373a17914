"""The rows of one bundle that count, as a table of a database: of the newest settings, and of each object the newest.

The same choice as `cxrlib.results.cohort.load` makes (but for copies, which are kept), for as many rows as the disk holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import duckdb
import pyarrow as pa

from cxrlib.results import cohort, rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot

_DECIDING: Final = ("uri", "version", "config_digest", "run_id")


def fill_newest(
    database: duckdb.DuckDBPyConnection, table: str, results: ResultsRoot, partition: str, columns: Sequence[str]
) -> str | None:
    """Make `table` of `columns`, ``uri``, ``version``, ``config_digest`` and ``run_id`` of the score rows that count.

    Returns
    -------
    str or None
        Digest of the settings that the rows were made under; None where there is no row.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    read = list(dict.fromkeys([*_DECIDING, *columns]))
    names = rows.names(results, RowKind.SCORES, partition)
    ranks = cohort.run_ranks(cohort.run_moments(results, results.runs()))
    ages = pa.table({"run_id": pa.array(list(ranks), pa.string()), "age": pa.array(list(ranks.values()), pa.int64())})
    database.register("given", rows.reader(results, RowKind.SCORES, partition, names, read))
    database.register("ages", ages)
    database.execute(
        "create temp table stored as select given.*, coalesce(age, -1) as age from given left join ages using (run_id)"
    )
    got = database.execute("select arg_max(config_digest, age) from stored").fetchall()[0][0]
    database.execute(
        "create table counted as select * exclude (age) from stored where config_digest = $config "
        "qualify row_number() over (partition by uri order by age desc, version desc) = 1",
        {"config": got},
    )
    database.execute(f'alter table counted rename to "{table}"')
    database.execute("drop table stored")
    for view in ("given", "ages"):
        database.unregister(view)
    return None if got is None else str(got)
