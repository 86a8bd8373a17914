"""Plans of a few references, made as a run makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from cxrlib.archive.reference_tables import tabulate
from cxrlib.runs.ledger import LEDGER
from cxrlib.runs.planning import KEY, Draft, drafted
from cxrlib.types import ImageRef

NO_LEDGER = LEDGER.empty_table()


@contextmanager
def draft_of(
    refs: Iterable[ImageRef],
    ledger: pa.Table = NO_LEDGER,
    *,
    chunk_size: int = 2,
    bundle_digest: str = "b",
    config_digest: str = "c",
    batch: int = 3,
) -> Iterator[Draft]:
    """Give the draft of a plan of `refs`, listed `batch` at a time, against a ledger of `cxrlib.runs.ledger.LEDGER`."""

    def fill(database: DuckDBPyConnection) -> None:
        database.register("given", ledger)
        database.execute(f"create table ledger as select {KEY} as key, settled, stands, attempts from given")  # noqa: S608

    listed = tabulate(refs, batch)
    with drafted(
        listed, fill, chunk_size=chunk_size, bundle_digest=bundle_digest, config_digest=config_digest
    ) as draft:
        yield draft


def make_plan(refs: Iterable[ImageRef], ledger: pa.Table = NO_LEDGER, **settings: Any) -> pa.Table:
    """Return the plan that `draft_of` gives as one table."""
    with draft_of(refs, ledger, **settings) as draft:
        return pa.concat_tables(draft.tables()).combine_chunks()
