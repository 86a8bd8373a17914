"""Writing tables of rows as Parquet."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cxrlib.results.parquet import in_groups_of


@pytest.mark.parametrize(
    ("batches", "groups"), [([], []), ([0], []), ([2], [2]), ([3], [3]), ([1, 7, 2], [3, 3, 3, 1]), ([3, 0, 3], [3, 3])]
)
def test_batches_of_any_size_become_groups_of_equal_size(batches: list[int], groups: list[int]) -> None:
    numbers = pa.table({"n": range(sum(batches))}, pa.schema([("n", pa.int64())]))
    starts = [sum(batches[:index]) for index in range(len(batches))]
    cut = [
        pa.record_batch([numbers["n"].slice(start, rows).combine_chunks()], schema=numbers.schema)
        for start, rows in zip(starts, batches, strict=True)
    ]
    got = list(in_groups_of(3, cut))
    assert [table.num_rows for table in got] == groups
    assert [n for table in got for n in table["n"].to_pylist()] == numbers["n"].to_pylist()
