"""Temporary DuckDB databases for work that does not fit into memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import duckdb

#: Memory that DuckDB uses before it spills to disk.
_MEMORY: Final = "1500MB"


@contextmanager
def spilling_database(folder: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty database that spills to `folder`."""
    with duckdb.connect(config={"memory_limit": _MEMORY, "temp_directory": folder}) as database:
        database.execute("set enable_progress_bar = false")
        yield database


@contextmanager
def isolated_database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty database that can read no file and no address, only what is registered with the connection.

    So a condition that a user wrote can query the rows and nothing else. The database spills to a temporary folder
    (in ``TMPDIR``), which is removed with it.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-") as folder, spilling_database(folder) as database:
        for setting in ("python_enable_replacements = false", "enable_external_access = false"):
            database.execute(f"set {setting}")
        database.execute("set lock_configuration = true")
        yield database
