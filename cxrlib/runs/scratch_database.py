"""A database of one's own for work that does not fit into memory, which can see nothing but what it is given."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from cxrlib.runs.planning import workbench


@contextmanager
def scratch() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give an empty database that ends with the block, its temporary folder too (``TMPDIR`` says where that is).

    A statement can read what is registered with the connection, and no file or address: so an expression that a person
    gave can ask about rows and about nothing else.
    """
    with tempfile.TemporaryDirectory(prefix="cxr-") as folder, workbench(folder) as database:
        for setting in ("python_enable_replacements = false", "enable_external_access = false"):
            database.execute(f"set {setting}")
        database.execute("set lock_configuration = true")
        yield database
