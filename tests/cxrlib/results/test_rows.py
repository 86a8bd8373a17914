"""The reader of rows: any columns of any objects, of any schema version, from any store."""

from __future__ import annotations

import io
import uuid
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_schemas import SCORES
from cxr_schemas.scores import score_columns
from cxrlib.errors import RunError
from cxrlib.results import layout, rows
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.parquet import parquet_bytes
from cxrlib.results.row_builder import rejects_table, scores_table
from tests.support.scored_films import provenance, scored_film

PARTITION = "default-abababab"
NO_REJECTS = parquet_bytes(rejects_table([], provenance()))


@pytest.fixture(params=["disk", "memory"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> ResultsRoot:
    return ResultsRoot.at(str(tmp_path) if request.param == "disk" else f"memory://{uuid.uuid4()}/out")


def put(results: ResultsRoot, chunk_id: str, table: pa.Table, row_group: int = 1000) -> None:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=row_group)
    results.settle(PARTITION, chunk_id, scores=sink.getvalue(), rejects=NO_REJECTS)


def films(*uris: str) -> pa.Table:
    return scores_table([scored_film(uri) for uri in uris], provenance())


def read(results: ResultsRoot, *columns: str, categories: bool = False) -> pa.Table:
    chunks = rows.settled_chunks(results, RowKind.SCORES, PARTITION)
    tables = rows.read_tables(results, RowKind.SCORES, PARTITION, chunks, columns or None, categories=categories)
    return pa.concat_tables(tables)


def test_rows_come_in_the_order_of_their_objects(results: ResultsRoot) -> None:
    for number in reversed(range(40)):
        put(results, f"{number:04d}", films(f"s3://b/{number:04d}"))
    assert read(results, "uri")["uri"].to_pylist() == [f"s3://b/{number:04d}" for number in range(40)]


def test_categories_become_text_unless_asked_for(results: ResultsRoot) -> None:
    put(results, "1", films("a"))
    assert read(results).schema.field("grade").type == pa.string()
    assert read(results, categories=True).schema == SCORES


def test_row_groups_are_read_one_by_one(results: ResultsRoot) -> None:
    put(results, "1", films(*"abcde"), row_group=2)
    got = list(rows.read_objects(results, RowKind.SCORES, PARTITION, ["1"], ["uri"]))
    assert [of.table["uri"].to_pylist() for of in got] == [["a", "b"], ["c", "d"], ["e"]]
    assert {of.chunk_id for of in got} == {"1"}
    assert got[0].stored.names == SCORES.names
    assert rows.read_object(results, RowKind.SCORES, PARTITION, "1", ["uri"])["uri"].to_pylist() == list("abcde")
    assert rows.count_rows(results, RowKind.SCORES, PARTITION, "1") == 5


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("categories", [True, False])
def test_columns_that_an_older_schema_lacks_are_null(results: ResultsRoot, version: int, categories: bool) -> None:
    put(results, "1", films("old").select(score_columns(version)))
    put(results, "2", films("new"))
    got = read(results, categories=categories)
    assert got["uri"].to_pylist() == ["old", "new"]
    assert got["localisation_map"].is_null().to_pylist()[0]
    assert got["forward_batch"].to_pylist() == [None, 16]


def test_missing_column_is_named(results: ResultsRoot) -> None:
    put(results, "1", films("a").drop_columns("percent_infected"))
    with pytest.raises(RunError, match=r"part-1\.parquet: expected columns .*; missing percent_infected"):
        rows.read_object(results, RowKind.SCORES, PARTITION, "1", ["uri", "percent_infected"])


def test_unreadable_object_is_an_error_or_reported_and_skipped(results: ResultsRoot) -> None:
    for chunk_id in "123":
        put(results, chunk_id, films(chunk_id))
    results.put(layout.chunk_key(RowKind.SCORES, PARTITION, "2"), b"not parquet")
    with pytest.raises(RunError, match=r"part-2\.parquet: expected a Parquet object of scores; got ArrowInvalid"):
        read(results, "uri")
    errors: list[RunError] = []
    stream = rows.read_objects(results, RowKind.SCORES, PARTITION, "1234", ["uri"], on_unreadable=errors.append)
    assert [of.table["uri"].to_pylist() for of in stream] == [["1"], ["3"]]
    assert [str(error).partition(":")[0] for error in errors] == [results.root.partition(":")[0]] * 2
    assert "part-4.parquet" in str(errors[1])


def test_rejects_count_only_where_the_chunk_is_settled(results: ResultsRoot) -> None:
    put(results, "1", films("a"))
    results.put(layout.chunk_key(RowKind.REJECTS, PARTITION, "2"), NO_REJECTS)
    assert rows.settled_chunks(results, RowKind.REJECTS, PARTITION) == ["1"]


def test_duckdb_queries_the_rows_of_any_store(results: ResultsRoot) -> None:
    put(results, "1", films("a", "b"))
    put(results, "2", films("c"))
    with duckdb.connect() as database:
        with rows.duckdb_view(database, results, RowKind.SCORES, PARTITION, ["1", "2"], columns=["uri"]):
            assert database.execute("select list(uri order by uri) from scores").fetchall() == [(["a", "b", "c"],)]
        with rows.duckdb_view(database, results, RowKind.REJECTS, PARTITION, [], columns=["uri"]):
            assert database.execute("select count(*) from rejects").fetchall() == [(0,)]
        results.put(layout.chunk_key(RowKind.SCORES, PARTITION, "2"), b"not parquet")
        with (
            pytest.raises(RunError, match=r"part-2\.parquet"),
            rows.duckdb_view(database, results, RowKind.SCORES, PARTITION, ["1", "2"], columns=["uri"]),
        ):
            database.execute("select list(uri) from scores")
