"""The layout of a results root and its atomic puts."""

from __future__ import annotations

import io
import os
import uuid
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrlib.errors import UsageError
from cxrlib.results import layout
from cxrlib.results import objects as store_module
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot


@pytest.fixture(params=["file", "memory"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> ResultsRoot:
    return ResultsRoot.at(str(tmp_path / "out") if request.param == "file" else f"memory://{uuid.uuid4()}/out")


def parquet(value: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": [value]}), sink)
    return sink.getvalue()


def test_get_returns_what_was_put_or_none(results: ResultsRoot) -> None:
    assert results.get("_runs/a/plan.parquet") is None
    results.put("_runs/a/plan.parquet", b"one")
    results.put("_runs/a/plan.parquet", b"two")
    assert results.get("_runs/a/plan.parquet") == b"two"
    assert results.runs() == ("a",)


def test_settled_chunk_has_both_objects_at_their_keys(results: ResultsRoot) -> None:
    assert not results.is_settled("b-12345678", "c1")
    results.settle("b-12345678", "c1", scores=b"s", rejects=b"r")
    assert results.is_settled("b-12345678", "c1")
    assert results.get("scores/bundle=b-12345678/part-c1.parquet") == b"s"
    assert results.get("rejects/bundle=b-12345678/part-c1.parquet") == b"r"
    assert results.chunks(RowKind.SCORES, "b-12345678") == {"c1"}
    assert results.partitions() == ("b-12345678",)


def test_chunk_without_scores_is_not_settled(results: ResultsRoot) -> None:
    results.put(layout.chunk_key(RowKind.REJECTS, "b", "c1"), b"r")
    assert not results.is_settled("b", "c1")
    assert results.chunks(RowKind.SCORES, "b") == frozenset()


def test_rejects_are_put_before_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    put = ResultsRoot.put
    monkeypatch.setattr(
        ResultsRoot, "put", lambda self, key, data: (order.append(key.split("/")[0]), put(self, key, data))
    )
    ResultsRoot.at(str(tmp_path)).settle("b", "c1", scores=b"s", rejects=b"r")
    assert order == ["rejects", "scores"]


def test_empty_root_has_no_runs_and_no_chunks(results: ResultsRoot) -> None:
    assert results.runs() == results.partitions() == ()
    assert results.chunks(RowKind.SCORES, "b") == frozenset()


def test_failed_put_keeps_the_old_object_and_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = ResultsRoot.at(str(tmp_path))
    results.put("scores/x", b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(store_module.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        results.put("scores/x", b"new")
    assert results.get("scores/x") == b"old"
    assert os.listdir(tmp_path / "scores") == ["x"]


def test_readers_skip_temporary_files_of_a_killed_put(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    results.put(layout.chunk_key(RowKind.SCORES, "b", "c1"), parquet(1))
    (tmp_path / "scores/bundle=b/.part-c2.parquet.0a1b2c3d.tmp").write_bytes(b"PAR1 torn")
    assert pd.read_parquet(tmp_path / "scores")["n"].tolist() == [1]
    assert results.chunks(RowKind.SCORES, "b") == {"c1"}


def test_chunks_settled_by_another_process_are_seen_at_once(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    assert not results.is_settled("b", "c1")
    ResultsRoot.at(str(tmp_path)).settle("b", "c1", scores=b"s", rejects=b"r")
    assert results.is_settled("b", "c1")


@pytest.mark.parametrize("uri", ["zip://out::a.zip", "nowhere://bucket/out"])
def test_unsupported_root_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError, match="out"):
        ResultsRoot.at(uri)


def test_relative_root_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ResultsRoot.at("out/").root == f"file://{tmp_path}/out"
