"""Store listed references as Arrow batches, because ten million references take too much memory as objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import pyarrow as pa

from cxrlib.types import ImageRef

#: One row per reference.
REFERENCE_SCHEMA: Final = pa.schema([("uri", pa.string()), ("version", pa.string()), ("size", pa.int64())])
_BATCH_ROWS: Final = 65_536


def reference_batches(refs: Iterable[ImageRef], size: int = _BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield references as batches of `REFERENCE_SCHEMA` with `size` rows each; the last may have fewer."""
    remaining = iter(refs)
    while some := list(islice(remaining, size)):
        columns = zip(*((ref.uri, ref.version, ref.size) for ref in some), strict=True)
        yield pa.record_batch(
            [pa.array(c, f.type) for c, f in zip(columns, REFERENCE_SCHEMA, strict=True)], schema=REFERENCE_SCHEMA
        )


def references(batch: pa.RecordBatch) -> Iterator[ImageRef]:
    """Yield the references of a batch of `REFERENCE_SCHEMA`, in its order."""
    for uri, version, size in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        yield ImageRef(uri, version, size)
