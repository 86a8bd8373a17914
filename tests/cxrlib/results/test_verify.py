"""Verifying a results root: a valid one passes, and each kind of damage is reported."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from cxr_schemas import SCORES
from cxr_schemas.scores import score_columns
from cxrlib.errors import UsageError
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from cxrlib.results.verify_checks import ProblemKind
from tests.support.small_archives import score_films, write_films


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify")
    score_films(write_films(root / "in", good=6, bad=("empty", "not_an_image")), root / "out", run_id="r")
    return root / "out"


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def parts(out: Path, kind: str) -> list[Path]:
    """Return chunk objects, those with most rows first."""
    return sorted((out / kind).rglob("part-*.parquet"), key=lambda path: -pq.read_metadata(path).num_rows)


def kinds(out: Path) -> dict[ProblemKind, int]:
    return {problem.kind: problem.count for problem in verify(str(out)).problems}


def test_valid_root_reconciles(out: Path) -> None:
    report = verify(str(out))
    assert report.ok
    assert (report.runs, report.open_runs) == (1, ())
    assert (report.listed, report.scored, report.rejected) == (8, 6, 2)
    assert (report.score_rows, report.reject_rows) == (6, 2)


def test_missing_scores_object_is_a_missing_chunk(out: Path) -> None:
    path = parts(out, "scores")[0]
    films = pq.read_metadata(path).num_rows
    path.unlink()
    got = kinds(out)
    assert got[ProblemKind.MISSING_CHUNK] == 1
    assert got[ProblemKind.NO_OUTCOME] >= films
    assert ProblemKind.COUNTS_DIFFER in got


def test_missing_rejects_object_is_half_a_chunk(out: Path) -> None:
    parts(out, "rejects")[0].unlink()
    got = kinds(out)
    assert got[ProblemKind.HALF_CHUNK] == 1
    assert got[ProblemKind.NO_OUTCOME] > 0


def test_truncated_object_is_unreadable(out: Path) -> None:
    path = parts(out, "scores")[0]
    path.write_bytes(path.read_bytes()[:-20])
    problem = next(p for p in verify(str(out)).problems if p.kind is ProblemKind.UNREADABLE)
    assert path.name in problem.examples[0]


def test_object_under_another_name_has_rows_without_a_plan(out: Path) -> None:
    path = parts(out, "scores")[0]
    for kind in ("scores", "rejects"):
        twin = out / kind / path.parent.name / path.name
        shutil.copy(twin, twin.with_name("part-0123.parquet"))
    got = kinds(out)
    assert got[ProblemKind.NO_PLAN] >= pq.read_metadata(path).num_rows
    assert got[ProblemKind.SEVERAL_OUTCOMES] >= pq.read_metadata(path).num_rows


def test_rows_of_a_deleted_run_have_no_plan(out: Path) -> None:
    shutil.move(out / "_runs/r", out / "_runs/other")
    assert kinds(out)[ProblemKind.NO_PLAN] == 8


def test_unknown_schema_version_is_reported(out: Path) -> None:
    path = parts(out, "scores")[0]
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**SCORES.metadata, b"cxr.schema_version": b"0"}), path)
    assert kinds(out) == {ProblemKind.WRONG_SCHEMA: 1}


def test_older_schema_version_needs_the_columns_of_that_version(out: Path) -> None:
    path = parts(out, "scores")[0]
    table = pq.read_table(path)
    first = {**SCORES.metadata, b"cxr.schema_version": b"1"}
    pq.write_table(table.replace_schema_metadata(first), path)
    assert kinds(out) == {ProblemKind.WRONG_SCHEMA: 1}
    for version in (1, 2):
        older = {**SCORES.metadata, b"cxr.schema_version": str(version).encode()}
        pq.write_table(table.select(score_columns(version)).replace_schema_metadata(older), path)
        assert verify(str(out)).ok


def test_manifest_with_wrong_counts_is_reported(out: Path) -> None:
    path = out / "_runs/r/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["scored"] -= 1
    manifest["counts"]["rejected"] += 1
    path.write_text(json.dumps(manifest))
    (problem,) = verify(str(out)).problems
    assert problem.kind is ProblemKind.COUNTS_DIFFER
    assert "r: scored 5 stated, 6 got" in problem.examples


def test_manifest_whose_counts_do_not_add_up_is_unreadable(out: Path) -> None:
    path = out / "_runs/r/manifest.json"
    manifest = json.loads(path.read_text())
    manifest["counts"]["listed"] += 1
    path.write_text(json.dumps(manifest))
    assert kinds(out)[ProblemKind.UNREADABLE] == 1


def test_open_run_is_listed_and_no_problem(out: Path) -> None:
    (out / "_runs/r/manifest.json").unlink()
    parts(out, "scores")[0].unlink()
    report = verify(str(out))
    assert report.ok
    assert (report.runs, report.open_runs) == (0, ("r",))


def test_duplicate_without_original_is_reported(out: Path) -> None:
    path = out / "_runs/r/plan.parquet"
    plan = pq.read_table(path)
    rows = plan.to_pylist()
    rows.append(
        {**rows[0], "uri": "file:///copy", "disposition": "duplicate", "chunk_id": None,
         "duplicate_of_uri": "file:///gone", "duplicate_of_version": rows[0]["version"]}
    )  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(type(plan).from_pylist(rows, schema=plan.schema), sink)
    ResultsRoot.at(str(out)).put("_runs/r/plan.parquet", sink.getvalue())
    got = kinds(out)
    assert got[ProblemKind.NO_ORIGINAL] == 1
    assert ProblemKind.COUNTS_DIFFER in got


def test_folder_without_runs_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected a results root"):
        verify(str(tmp_path))
