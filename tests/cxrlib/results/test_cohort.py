"""Loading a cohort: one typed row per film and bundle from any store, with counts of the rows left out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cxr_schemas import PLAN, SCORES, FilmClass, RunCounts, RunManifest
from cxr_schemas.scores import score_columns
from cxrlib.errors import RunError, UsageError
from cxrlib.results import cohort, layout
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.parquet import parquet_bytes
from cxrlib.results.row_builder import rejects_table, scores_table
from cxrlib.runs.plan import PlanHeader, write_plan
from cxrlib.types import Provenance, ScoredFilm
from tests.support.scored_films import provenance, scored_film

_SURE = {FilmClass.COVID19: 0.9, FilmClass.PNEUMONIA: 0.1, FilmClass.NORMAL: 0.0}
_OLD, _NEW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def memory() -> Iterator[ResultsRoot]:
    """A results root in memory."""
    filesystem = fsspec.filesystem("memory")
    yield ResultsRoot.at("memory://cohort/results")
    if filesystem.exists("/cohort"):
        filesystem.rm("/cohort", recursive=True)


def settle(results: ResultsRoot, films: list[ScoredFilm], by: Provenance | None = None, chunk_id: str = "0001") -> None:
    by = by or provenance()
    results.settle(
        f"{by.bundle_name}-{by.bundle_digest[:8]}",
        chunk_id,
        scores=parquet_bytes(scores_table(films, by)),
        rejects=parquet_bytes(rejects_table([], by)),
    )


def close(results: ResultsRoot, run_id: str, planned_at: datetime) -> None:
    manifest = RunManifest(
        run_id=run_id,
        sources=(),
        bundle_name="default",
        bundle_version="1.0.0",
        bundle_digest="ab" * 32,
        config={},
        config_digest="cd" * 32,
        software_version="0.1.0",
        versions={},
        runner="local",
        planned_at=planned_at,
        closed_at=planned_at,
        chunks=1,
        chunks_settled_here=1,
        counts=RunCounts(listed=1, scored=1, rejected=0, duplicate=0, settled_before=0),
        retryable=0,
        reasons={},
        seconds_scoring=1.0,
        films_per_second=1.0,
    )
    results.put(layout.manifest_key(run_id), manifest.model_dump_json().encode())


def plan(results: ResultsRoot, run_id: str, planned_at: datetime) -> None:
    """Store a plan alone, as an open run has it."""
    header = PlanHeader(
        run_id,
        planned_at.isoformat(),
        (),
        "default",
        "1.0.0",
        "ab" * 32,
        "default-abababab",
        {},
        "cd" * 32,
        256,
        "0.1.0",
    )
    write_plan(results, [PLAN.empty_table()], header)


@pytest.mark.parametrize("scheme", ["memory", "file", "path"])
def test_rows_are_loaded_from_any_store(scheme: str, memory: ResultsRoot, tmp_path: Path) -> None:
    root = {"memory": memory.root, "file": tmp_path.as_uri(), "path": str(tmp_path)}[scheme]
    results = ResultsRoot.at(root)
    settle(results, [scored_film("s3://b/c"), scored_film("s3://b/a")], chunk_id="0001")
    settle(results, [scored_film("s3://b/b")], chunk_id="0002")
    settle(results, [], chunk_id="0003")
    films = cohort.load(root)
    assert films["uri"].tolist() == ["s3://b/a", "s3://b/b", "s3://b/c"]
    assert list(films.columns) == SCORES.names
    assert films.attrs == {"dropped_configs": 0, "dropped_versions": 0, "dropped_copies": 0}


def test_rows_are_loaded_from_a_bucket() -> None:
    pytest.importorskip("moto", reason="needs the stand-in S3 server of the demo extra")
    from cxr_flows.demo.s3_stub import s3_stub

    with s3_stub("archive") as bucket:
        settle(ResultsRoot.at(f"{bucket}/results"), [scored_film("s3://b/b"), scored_film("s3://b/a")])
        assert cohort.load(f"{bucket}/results")["uri"].tolist() == ["s3://b/a", "s3://b/b"]
        with pytest.raises(UsageError, match="no results"):
            cohort.load(f"{bucket}/elsewhere")


def test_column_types_do_not_depend_on_values(memory: ResultsRoot) -> None:
    settle(memory, [scored_film(classes=_SURE)])
    settle(memory, [scored_film("s3://z", with_infection=False, spacing_mm=None)], chunk_id="0002")
    films = cohort.load(memory.root)
    assert films["grade"].dtype == pd.CategoricalDtype(["none", "mild", "moderate", "severe", "critical"], ordered=True)
    assert films["study_date"].dtype == "datetime64[s]"
    assert films["infection_px"].dtype == "Int32"
    assert films["infected"].dtype == "boolean"
    assert films["lung_px"].dtype == "int32"
    assert films["percent_infected"].dtype == "float32"
    assert films["class_label"].dtype == pd.CategoricalDtype(["covid19", "pneumonia", "normal"])
    assert isinstance(films["transfer_syntax"].dtype, pd.CategoricalDtype)
    assert films["infection_px"].isna().tolist() == [False, True]
    alone = cohort.load(memory.root, columns=["uri", "grade", "infected", "infection_px"])
    assert alone.dtypes.to_dict() == films[list(alone.columns)].dtypes.to_dict()


@pytest.mark.parametrize("version", [1, 2])
def test_rows_of_an_older_schema_version_are_loaded_too(tmp_path: Path, version: int) -> None:
    results = ResultsRoot.at(str(tmp_path))
    cells = np.array([[0, 255], [0, 0]], np.uint8)
    settle(results, [scored_film("s3://b/new", cells=cells)], chunk_id="0002")
    old = scores_table([scored_film("s3://b/old")], provenance()).select(score_columns(version))
    old = old.replace_schema_metadata({**SCORES.metadata, b"cxr.schema_version": str(version).encode()})
    rejects = parquet_bytes(rejects_table([], provenance()))
    for chunk_id in ("0001", "0003"):
        of_chunk = old.set_column(0, old.schema.field("uri"), pa.array([f"s3://b/old-{chunk_id}"]))
        of_chunk = of_chunk.set_column(2, old.schema.field("content_digest"), pa.array([chunk_id]))
        results.settle("default-abababab", chunk_id, scores=parquet_bytes(of_chunk), rejects=rejects)
    films = cohort.load(str(tmp_path))
    assert films["uri"].tolist() == ["s3://b/new", "s3://b/old-0001", "s3://b/old-0003"]
    assert list(films.columns) == SCORES.names
    for name in ("localisation_map", "localisation_percent"):
        assert films[name].isna().tolist() == [False, True, True]
    assert films["localisation_percent"].dtype == "float32"
    assert films["forward_batch"].fillna(0).tolist() == [16, 0, 0]
    assert films["forward_batch"].dtype == "Int16"
    assert films["engine"].astype(object).fillna("").tolist() == ["openvino", "", ""]
    assert films["percent_infected"].notna().all()
    assert len(pd.read_parquet(tmp_path / "scores")) == 3


def test_requested_columns_are_returned_in_order(memory: ResultsRoot) -> None:
    settle(memory, [scored_film()])
    assert list(cohort.load(memory.root, columns=["percent_infected", "uri"]).columns) == ["percent_infected", "uri"]
    with pytest.raises(UsageError, match="severity_score"):
        cohort.load(memory.root, columns=["uri", "severity_score"])


def test_copy_of_a_film_is_dropped_and_counted(memory: ResultsRoot, caplog: pytest.LogCaptureFixture) -> None:
    films = [scored_film(f"s3://b/{name}", content="same") for name in "cab"]
    settle(memory, [*films, scored_film("s3://b/other")])
    with caplog.at_level(logging.INFO, logger="cxrlib.results.cohort"):
        loaded = cohort.load(memory.root)
    assert loaded["uri"].tolist() == ["s3://b/a", "s3://b/other"]
    assert loaded.attrs["dropped_copies"] == 2
    assert "2 copies" in caplog.text


def test_each_bundle_keeps_a_row_of_a_film(memory: ResultsRoot) -> None:
    settle(memory, [scored_film()])
    settle(memory, [scored_film()], provenance(bundle_digest="11" * 32))
    settle(memory, [scored_film()], provenance(bundle="other", bundle_digest="22" * 32))
    assert len(cohort.load(memory.root)) == 3
    assert len(cohort.load(memory.root, bundle="default")) == 2
    only = cohort.load(memory.root, bundle="default-11111111")
    assert only["bundle_digest"].tolist() == ["11" * 32]
    with pytest.raises(UsageError, match="it has default-11111111, default-abababab, other-22222222"):
        cohort.load(memory.root, bundle="absent")


@pytest.mark.parametrize("newest", ["run-1", "run-2"])
def test_settings_of_the_newest_run_count(memory: ResultsRoot, newest: str) -> None:
    settle(memory, [scored_film(), scored_film("s3://b/z")], provenance(config="11" * 32, run_id="run-1"))
    settle(memory, [scored_film()], provenance(config="22" * 32, run_id="run-2"), chunk_id="0002")
    for run_id in ("run-1", "run-2"):
        close(memory, run_id, _NEW if run_id == newest else _OLD)
    films = cohort.load(memory.root)
    assert set(films["run_id"]) == {newest}
    assert films.attrs["dropped_configs"] == (1 if newest == "run-1" else 2)
    assert len(films["config_digest"].cat.categories) == 2, "categories do not depend on the rows that count"


def test_age_of_an_open_run_comes_from_its_plan(memory: ResultsRoot) -> None:
    settle(memory, [scored_film()], provenance(config="11" * 32, run_id="a-run"))
    settle(memory, [scored_film()], provenance(config="22" * 32, run_id="z-run"), chunk_id="0002")
    plan(memory, "a-run", _NEW)
    close(memory, "z-run", _OLD)
    assert cohort.load(memory.root)["run_id"].tolist() == ["a-run"]


def test_replaced_object_has_the_row_of_its_newest_version(memory: ResultsRoot) -> None:
    settle(memory, [scored_film(version="etag:z", content="before")], provenance(run_id="run-1"))
    settle(memory, [scored_film(version="etag:a", content="after")], provenance(run_id="run-2"), chunk_id="0002")
    close(memory, "run-1", _OLD)
    close(memory, "run-2", _NEW)
    films = cohort.load(memory.root)
    assert films["version"].tolist() == ["etag:a"]
    assert films.attrs["dropped_versions"] == 1


def test_root_without_results_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no results at .*expected scores/bundle="):
        cohort.load(str(tmp_path / "absent"))


def test_results_without_a_scored_film_are_an_empty_table(memory: ResultsRoot) -> None:
    settle(memory, [])
    films = cohort.load(memory.root)
    assert len(films) == 0
    assert list(films.columns) == SCORES.names


def test_score_object_that_is_not_parquet_is_an_error(memory: ResultsRoot) -> None:
    memory.put(layout.chunk_key(RowKind.SCORES, "default-abababab", "0001"), b"not parquet")
    with pytest.raises(RunError, match=r"part-0001\.parquet: expected a Parquet object of scores"):
        cohort.load(memory.root)


def test_rows_equal_those_that_pandas_reads(tmp_path: Path) -> None:
    settle(ResultsRoot.at(str(tmp_path)), [scored_film("s3://b/a", classes=_SURE), scored_film("s3://b/b")])
    plain = pd.read_parquet(tmp_path / "scores")
    films = cohort.load(str(tmp_path))
    for name in ("uri", "percent_infected", "lung_px", "p_covid19", "lung_rle"):
        pd.testing.assert_series_equal(films[name], plain[name])
