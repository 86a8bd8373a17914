"""The ledger: which films are settled already, read from the stored scores and rejects and nothing else."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from typing import Final

import duckdb
import pyarrow as pa

from cxr_schemas import Reason
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.rows import duckdb_view, settled_chunks
from cxrlib.runs.planning import KEY
from cxrlib.runs.scratch_database import spilling_database

#: One row for each (uri, version) that has an outcome.
LEDGER: Final[pa.Schema] = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        # Scored or finally rejected, so that it is not planned again.
        pa.field("settled", pa.bool_(), nullable=False),
        # Whether the outcome applies to identical copies: yes if it depends on the bytes, no for `not_found`.
        pa.field("holds_for_copies", pa.bool_(), nullable=False),
        # Number of tries so far.
        pa.field("attempts", pa.int16(), nullable=False),
    ]
)
#: Final rejects that do not depend on the content of the object.
_NOT_OF_CONTENT: Final = (Reason.NOT_FOUND,)
#: Columns that an outcome is read from.
_COLUMNS: Final = {
    RowKind.SCORES: ("uri", "version", "bundle_digest", "config_digest"),
    RowKind.REJECTS: ("uri", "version", "reason", "retryable", "attempt", "bundle_digest", "config_digest"),
}
_NOT_OF_CONTENT_SQL: Final = ", ".join(f"'{reason.value}'" for reason in _NOT_OF_CONTENT)
_OUTCOMES: Final = f"""
    select uri, version, true as settled, true as holds_for_copies, 1::smallint as attempts from scores
    where bundle_digest = $bundle and config_digest = $config
    union all
    select uri, version, not retryable, not retryable and reason not in ({_NOT_OF_CONTENT_SQL}), attempt from rejects
    where bundle_digest = $bundle and config_digest = $config
"""  # noqa: S608 - our own constants
_MERGED: Final = "bool_or(settled) as settled, bool_or(holds_for_copies) as holds_for_copies, max(attempts) as attempts"


def read_ledger(results: ResultsRoot, *, partition: str, bundle_digest: str, config_digest: str) -> pa.Table:
    """Return the outcomes of the films under one bundle and one configuration, of schema `LEDGER`.

    Only settled chunks count. Rejects without a scores object belong to a chunk that was interrupted and is scored
    again. Of several outcomes of a film a score wins, then a final reject; retryable rejects count as tries.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-ledger-") as folder, spilling_database(folder) as database:
        query = f"create table merged as select uri, version, {_MERGED} from ({_OUTCOMES}) group by all"  # noqa: S608
        _query(database, results, partition, query, {"bundle": bundle_digest, "config": config_digest})
        return database.sql("from merged").to_arrow_table().cast(LEDGER)


def fill_ledger(
    database: duckdb.DuckDBPyConnection, results: ResultsRoot, *, partition: str, bundle_digest: str, config_digest: str
) -> None:
    """Make the table ``ledger``: `read_ledger` with the hash `cxrlib.runs.planning.KEY` instead of the texts.

    Raises
    ------
    RunError
        A stored object cannot be read.
    """
    query = f"create table ledger as select {KEY} as key, {_MERGED} from ({_OUTCOMES}) group by key"  # noqa: S608
    _query(database, results, partition, query, {"bundle": bundle_digest, "config": config_digest})


def _query(
    database: duckdb.DuckDBPyConnection, results: ResultsRoot, partition: str, query: str, values: dict[str, str]
) -> None:
    """Run a query on the views ``scores`` and ``rejects``, the rows of all settled chunks."""
    chunks = settled_chunks(results, RowKind.SCORES, partition)
    with ExitStack() as views:
        for kind, columns in _COLUMNS.items():
            views.enter_context(duckdb_view(database, results, kind, partition, chunks, columns=columns))
        database.execute(query, values)
