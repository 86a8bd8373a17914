"""What a listing gives, as tables: ten million references are then a few hundred batches, not ten million objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import pyarrow as pa

from cxrlib.types import ImageRef

#: One row per reference; attempts are the plan's to say.
LISTED: Final = pa.schema([("uri", pa.string()), ("version", pa.string()), ("size", pa.int64())])
_BATCH: Final = 65_536


def tabulate(refs: Iterable[ImageRef], size: int = _BATCH) -> Iterator[pa.RecordBatch]:
    """Yield references as batches of schema `LISTED`, `size` rows each, the last of fewer."""
    remaining = iter(refs)
    while some := list(islice(remaining, size)):
        columns = zip(*((ref.uri, ref.version, ref.size) for ref in some), strict=True)
        yield pa.record_batch([pa.array(c, f.type) for c, f in zip(columns, LISTED, strict=True)], schema=LISTED)


def references(batch: pa.RecordBatch) -> Iterator[ImageRef]:
    """Yield the references of a batch of schema `LISTED`, in its order."""
    for uri, version, size in zip(*(column.to_pylist() for column in batch.columns), strict=True):
        yield ImageRef(uri, version, size)
