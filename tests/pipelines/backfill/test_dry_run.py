"""Dry run of a backfill: its parts, and an estimate of its time from a sample that is scored and deleted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_flows.reports.backfill import forecast_lines
from cxr_pipelines.backfill import dry_run as dry_run_module
from cxr_pipelines.backfill.dry_run import Forecast, dry_run
from cxr_pipelines.backfill.progress import ProgressBoard
from cxr_pipelines.backfill.scheduler import run_parts
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import Cut, CutBy, RunManifest
from cxrlib.backfills.create import BackfillRequest
from cxrlib.backfills.stored import list_backfills, part_states
from cxrlib.errors import RunError
from cxrlib.results.objects import ResultsRoot
from tests.support.backfills import SETTINGS, ScoreInProcess, new_backfill, work_on, write_films_by_year
from tests.support.fakes import fake_bundle
from tests.support.small_archives import score_films

YEARS, FILMS = range(2020, 2024), 25
SECONDS_PER_FILM = 0.05


def forecast(tmp_path: Path, *, parallel: int = 1, most: int = 1000) -> Forecast:
    """Return the result of a dry run of a backfill by year."""
    request = BackfillRequest("b", (str(tmp_path / "in"),), Cut(by=CutBy.YEAR), SETTINGS)
    results = ResultsRoot.at(str(tmp_path / "out"))
    return dry_run(
        results, request, fake_bundle(), parallel=parallel, most=most, run_part=ScoreInProcess(SECONDS_PER_FILM)
    )


@pytest.fixture(autouse=True)
def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run_module, "WINDOW_S", 2.0)
    monkeypatch.setattr(dry_run_module, "_FIRST", 10)


def test_estimate_is_close_to_the_time_of_the_backfill_and_leaves_no_files(tmp_path: Path) -> None:
    archive = write_films_by_year(tmp_path / "in", YEARS, FILMS)
    got = forecast(tmp_path)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert list_backfills(ResultsRoot.at(str(tmp_path / "out"))) == ()
    assert [(part.entry.label, part.to_score) for part in got.parts] == [(str(year), FILMS) for year in YEARS][::-1]
    assert (got.listed, got.objects, got.to_score) == (100, 100, 100)
    assert got.bytes == got.bytes_to_score == sum(path.stat().st_size for path in archive.rglob("*.png"))
    assert got.pace.seconds_per_film == pytest.approx(SECONDS_PER_FILM, rel=0.6)

    began = time.monotonic()
    manifest = new_backfill(archive, tmp_path / "out")
    work = work_on(manifest, tmp_path / "out")
    run_parts(work, ProgressBoard(part_states(work.results, manifest)), ScoreInProcess(SECONDS_PER_FILM))
    # The engine sleeps for 5 s of this time. The rest depends on the load of the machine.
    assert got.seconds == pytest.approx(time.monotonic() - began, rel=0.6)
    lines = forecast_lines(got)
    assert lines[0].startswith("4 parts with 100 objects")
    assert "it would take" in lines[-1]


def test_settled_films_take_no_time(tmp_path: Path) -> None:
    archive = write_films_by_year(tmp_path / "in", [2020, 2021], 6)
    score_films(archive / "2021", tmp_path / "out", SETTINGS)
    got = forecast(tmp_path, parallel=2)
    assert [part.to_score for part in got.parts] == [0, 6]
    score_films(archive / "2020", tmp_path / "out", SETTINGS)
    got = forecast(tmp_path)
    assert (got.to_score, got.sampled, got.bytes_to_score) == (0, 0, 0)
    assert forecast_lines(got)[-1] == "nothing is left to score"


def test_failing_sample_raises_and_is_removed(tmp_path: Path) -> None:
    write_films_by_year(tmp_path / "in", [2020], 3)

    def fail(job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        raise RunError("no space left")

    request = BackfillRequest("b", (str(tmp_path / "in"),), Cut(), SETTINGS)
    with pytest.raises(RunError, match="no space left"):
        dry_run(ResultsRoot.at(str(tmp_path / "out")), request, fake_bundle(), parallel=1, most=10, run_part=fail)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
