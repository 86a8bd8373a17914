"""The rules for which rows count, against a plain implementation that looks at one row after the other."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxrlib.results import which_rows_count
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.which_rows_count import DECIDING, fill_left_out, run_ages
from cxrlib.runs.scratch_database import isolated_database

_PLANNED = {f"run-{n}": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n * n % 5) for n in range(4)}


@dataclass(frozen=True, slots=True)
class Row:
    uri: str
    version: str
    content_digest: str
    bundle_digest: str
    config_digest: str
    run_id: str


#: A run has one bundle and one configuration; a film is in it once.
_ROWS = st.lists(
    st.builds(
        Row,
        uri=st.sampled_from("abc"),
        version=st.sampled_from("123"),
        content_digest=st.sampled_from("xyz"),
        bundle_digest=st.just(""),
        config_digest=st.just(""),
        run_id=st.sampled_from(sorted(_PLANNED)),
    ),
    max_size=14,
    unique_by=lambda row: (row.uri, row.run_id),
)
_OF_RUN = st.fixed_dictionaries({run: st.tuples(st.sampled_from("BC"), st.sampled_from("st")) for run in _PLANNED})


def plain(stored: list[Row], copies_count: bool) -> list[int]:
    """Return the indices of the rows that count."""

    def age(row: Row) -> tuple[datetime, str]:
        return _PLANNED[row.run_id], row.run_id

    newest = {row.bundle_digest: row.config_digest for row in sorted(stored, key=age)}
    counting: dict[tuple[str, str], int] = {}
    for row_index, row in sorted(enumerate(stored), key=lambda entry: age(entry[1])):
        if row.config_digest == newest[row.bundle_digest]:
            counting[row.bundle_digest, row.uri] = row_index
    if not copies_count:
        by_content: dict[tuple[str, str], int] = {}
        for row_index in sorted(counting.values(), key=lambda row_index: stored[row_index].uri):
            by_content.setdefault((stored[row_index].bundle_digest, stored[row_index].content_digest), row_index)
        return sorted(by_content.values())
    return sorted(counting.values())


@pytest.mark.parametrize("copies_count", [True, False])
@given(
    rows=_ROWS,
    of_run=st.fixed_dictionaries({run: st.tuples(st.sampled_from("BC"), st.sampled_from("st")) for run in _PLANNED}),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rules_agree_with_a_plain_implementation(
    copies_count: bool, rows: list[Row], of_run: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [Row(row.uri, row.version, row.content_digest, *of_run[row.run_id], row.run_id) for row in rows]
    monkeypatch.setattr(which_rows_count, "_planned_at", lambda results, run_id: _PLANNED[run_id])
    columns = zip(*map(astuple, stored), strict=True) if stored else [[] for _ in DECIDING]
    table = pa.table({name: pa.array(values, pa.string()) for name, values in zip(DECIDING, columns, strict=True)})
    with isolated_database() as database:
        database.register("stored", table.append_column("row_index", pa.array(range(len(stored)), pa.int64())))
        got = fill_left_out(database, "stored", ResultsRoot("file:///nowhere"), copies_count=copies_count)
        left_out = {row_index for (row_index,) in database.execute("select row_index from left_out").fetchall()}
    assert [row_index for row_index in range(len(stored)) if row_index not in left_out] == plain(stored, copies_count)
    assert got.other_settings + got.replaced + got.copies == len(left_out)


def test_run_without_records_is_older_than_all_others(tmp_path: Path) -> None:
    assert run_ages(ResultsRoot.at(str(tmp_path)), ["b", "a"]) == {"a": 0, "b": 1}
