"""Plans of a few references, made as a run makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa
from duckdb import DuckDBPyConnection

from cxrlib.ledger import LEDGER
from cxrlib.planning import KEY, LISTED, Draft, drafted
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
    """Give the draft of a plan of `refs`, listed `batch` at a time, against a ledger of `cxrlib.ledger.LEDGER`."""

    def fill(database: DuckDBPyConnection) -> None:
        database.register("given", ledger)
        database.execute(f"create table ledger as select {KEY} as key, settled, stands, attempts from given")  # noqa: S608

    listed = _batches(iter(refs), batch)
    with drafted(
        listed, fill, chunk_size=chunk_size, bundle_digest=bundle_digest, config_digest=config_digest
    ) as draft:
        yield draft


def make_plan(refs: Iterable[ImageRef], ledger: pa.Table = NO_LEDGER, **settings: Any) -> pa.Table:
    """Return the plan that `draft_of` gives as one table."""
    with draft_of(refs, ledger, **settings) as draft:
        return pa.concat_tables(draft.tables()).combine_chunks()


def _batches(refs: Iterator[ImageRef], size: int) -> Iterator[pa.RecordBatch]:
    while some := list(islice(refs, size)):
        columns = zip(*((ref.uri, ref.version, ref.size) for ref in some), strict=True)
        yield pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, LISTED, strict=True)], schema=LISTED)
