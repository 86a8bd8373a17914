"""A dry run: what a backfill would be and how long it would take, by a sample that is scored and thrown away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_flows import dry_run as dry_run_module
from cxr_flows.backfill_report import forecast_lines
from cxr_flows.board import Board
from cxr_flows.dry_run import Forecast, dry_run
from cxr_flows.job import Progress, ScoreJob
from cxr_flows.parts import work_off
from cxr_schemas import Cut, CutBy, Manifest
from cxrlib.errors import RunError
from cxrlib.runs.backfill import list_backfills, part_states
from cxrlib.runs.backfill_start import BackfillRequest
from cxrlib.runs.store import Store
from tests.backfills import SETTINGS, InProcess, plant_years, start, work_on
from tests.pipeline.fakes import fake_bundle
from tests.pipeline.trees import run

YEARS, FILMS = range(2020, 2024), 25
SECONDS_PER_FILM = 0.05


def forecast(tmp_path: Path, *, parallel: int = 1, most: int = 1000) -> Forecast:
    """Return what a backfill by year would be."""
    request = BackfillRequest("b", (str(tmp_path / "in"),), Cut(by=CutBy.YEAR), SETTINGS)
    store = Store.at(str(tmp_path / "out"))
    return dry_run(store, request, fake_bundle(), parallel=parallel, most=most, run_part=InProcess(SECONDS_PER_FILM))


@pytest.fixture(autouse=True)
def _short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run_module, "WINDOW_S", 2.0)
    monkeypatch.setattr(dry_run_module, "_FIRST", 10)


def test_estimate_is_close_to_what_the_backfill_takes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    archive = plant_years(tmp_path / "in", YEARS, FILMS)
    met = forecast(tmp_path)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
    assert list_backfills(Store.at(str(tmp_path / "out"))) == ()
    assert [(part.entry.label, part.to_score) for part in met.parts] == [(str(year), FILMS) for year in YEARS][::-1]
    assert (met.listed, met.objects, met.to_score) == (100, 100, 100)
    assert met.bytes == met.bytes_to_score == sum(path.stat().st_size for path in archive.rglob("*.png"))
    assert met.pace.seconds_per_film == pytest.approx(SECONDS_PER_FILM, rel=0.6)

    began = time.monotonic()
    manifest = start(archive, tmp_path / "out")
    work = work_on(manifest, tmp_path / "out")
    work_off(work, Board(part_states(work.store, manifest)), InProcess(SECONDS_PER_FILM))
    # The engine sleeps for 5 s of it; the rest is this machine's, which others may use at the same time.
    assert met.seconds == pytest.approx(time.monotonic() - began, rel=0.6)
    said = forecast_lines(met)
    assert said[0].startswith("4 parts with 100 objects")
    assert "it would take" in said[-1]


def test_what_is_settled_already_takes_no_time(tmp_path: Path) -> None:
    archive = plant_years(tmp_path / "in", [2020, 2021], 6)
    run(archive / "2021", tmp_path / "out", SETTINGS)
    met = forecast(tmp_path, parallel=2)
    assert [part.to_score for part in met.parts] == [0, 6]
    run(archive / "2020", tmp_path / "out", SETTINGS)
    met = forecast(tmp_path)
    assert (met.to_score, met.sampled, met.bytes_to_score) == (0, 0, 0)
    assert forecast_lines(met)[-1] == "nothing is left to be scored"


def test_sample_that_cannot_be_scored_is_told_and_removed(tmp_path: Path) -> None:
    plant_years(tmp_path / "in", [2020], 3)

    def fall(job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> Manifest:
        raise RunError("no space left")

    request = BackfillRequest("b", (str(tmp_path / "in"),), Cut(), SETTINGS)
    with pytest.raises(RunError, match="no space left"):
        dry_run(Store.at(str(tmp_path / "out")), request, fake_bundle(), parallel=1, most=10, run_part=fall)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))
