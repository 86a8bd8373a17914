"""`cxr backfill` on the command line: start, show, pause, resume, and usage errors."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import main
from cxr_flows.cli.scoring.backfill_progress import parts_table
from cxr_flows.reports.backfill import board_line, duration_text, part_line, size_text
from cxr_pipelines.backfill import scheduler
from cxr_pipelines.backfill.progress import BoardSnapshot, PartLine, PartStatus, ProgressBoard
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import PartEntry, RunManifest
from cxrlib.backfills.stored import part_states, request_pause, require_backfill
from cxrlib.errors import UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.results.objects import ResultsRoot
from tests.support.backfills import ScoreInProcess, write_films_by_year
from tests.support.fakes import fake_bundle

Score = Callable[[ScoreJob, Callable[[Progress], None], threading.Event], RunManifest]


@pytest.fixture(autouse=True)
def _without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_name: str) -> Bundle:
        return fake_bundle()

    monkeypatch.setattr("cxrlib.models.bundle.load_bundle", load)
    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", ScoreInProcess())
    monkeypatch.setenv("CXR_READ__MIN_SIDE", "32")
    monkeypatch.setenv("CXR_READ__FIX_POLARITY", "false")
    monkeypatch.setattr(scheduler, "CHECK_EVERY_S", 0.1)


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the JSON document on stdout."""
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_backfill_is_started_paused_shown_and_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, out = str(write_films_by_year(tmp_path / "in", [2020, 2021, 2022], 2)), str(tmp_path / "out")
    scores = ScoreInProcess()

    def pause_in_the_second(job: ScoreJob, note: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        if job.run_id == "old-p0002":
            request_pause(ResultsRoot.at(out), "old")
            stop.wait(30)
        return scores(job, note, stop)

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", pause_in_the_second)
    begun = main(["backfill", archive, "--out", out, "--id", "old", "--by", "year", "--json"])
    assert begun == Exit.INTERRUPTED
    output = capsys.readouterr()
    assert json.loads(output.out)["done"] == 1
    assert "backfill old: 6 objects in 3 parts" in output.err
    assert "p0001 2022: done" in output.err
    assert "paused; `cxr backfill resume old" in output.err

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", scores)
    monkeypatch.delenv("CXR_READ__MIN_SIDE")  # the setting is read from the results root
    assert main(["backfill", "resume", "old", "--out", out, "--json"]) == Exit.SETTLED
    totals = printed(capsys)
    assert (totals["done"], totals["parts"], totals["scored"]) == (3, 3, 6)
    assert main(["backfill", "show", "old", "--out", out, "--json"]) == Exit.SETTLED
    assert printed(capsys) == totals
    assert main(["backfill", "pause", "old", "--out", out]) == Exit.SETTLED
    assert main(["backfill", "show", "old", "--out", out]) == Exit.SETTLED
    assert "the backfill is paused" in capsys.readouterr().out


def test_failed_part_gives_exit_code_1_and_is_retried_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, out = str(write_films_by_year(tmp_path / "in", [2020, 2021], 2)), str(tmp_path / "out")
    scores = ScoreInProcess()

    def fail(job: ScoreJob, note: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        if job.run_id == "old-p0002":
            raise UsageError("the inventory cannot be read")
        return scores(job, note, stop)

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", fail)
    arguments = ["backfill", "start", archive, "--out", out, "--id", "old", "--by", "year"]
    assert main(arguments) == Exit.COULD_NOT_RUN
    output = capsys.readouterr()
    assert "p0002 2020: failed: the inventory cannot be read" in output.err
    assert "1 parts failed: retry them with `cxr backfill resume old --retry-failed`" in output.out
    assert main(arguments) == Exit.USAGE
    assert "exists already" in capsys.readouterr().err

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", scores)
    assert main(["backfill", "resume", "old", "--out", out, "--retry-failed", "--quiet"]) == Exit.SETTLED
    results = ResultsRoot.at(out)
    states = part_states(results, require_backfill(results, "old"))
    assert [state.run_id for state in states] == ["old-p0001", "old-p0002"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "3", "--by", "year"], "--parts cuts by count"),
        (["--runner", "dask"], "the runner dask is refused"),
        (["--runner", "flink", "--workers", "2"], "--workers is for the local runner"),
        (["--wait", "3"], "No such option"),
        (["--id", "a/b"], "expected the id of a backfill"),
    ],
)
def test_usage_error_gives_exit_code_2_and_stores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    archive = str(write_films_by_year(tmp_path / "in", [2020], 1))
    assert main(["backfill", archive, "--out", str(tmp_path / "out"), *arguments]) == Exit.USAGE
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_unknown_backfill_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("resume", "pause", "show"):
        assert main(["backfill", name, "nothing", "--out", str(tmp_path)]) == Exit.USAGE
        assert "has no backfill nothing" in capsys.readouterr().err


def line(number: int, status: PartStatus, **rest: Any) -> PartLine:
    entry = PartEntry(part=f"p{number:04d}", label=f"[2020]-{number:02d}", objects=100, bytes=2**20)
    return PartLine(entry, status, **{"left": 0 if status is PartStatus.DONE else 60, **rest})


def test_table_shows_running_and_failed_parts_first() -> None:
    statuses = [*[PartStatus.DONE] * 20, PartStatus.FAILED, PartStatus.RUNNING, *[PartStatus.WAITING] * 20]
    lines = tuple(line(number, status, worked=40, seconds=20.0) for number, status in enumerate(statuses, 1))
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(parts_table(BoardSnapshot(lines, 60.0), 6))
    text = console.export_text()
    assert "parts: 20 done, 1 running, 1 failed, 20 left" in text
    assert "[2020]-22" in text, "rich must not read a label in brackets as markup"
    assert "running" in text
    assert "30 s" in text, "60 films are left at 2 a second"
    assert "p0021" in text
    assert "and 37 more parts" in text


def test_log_lines_describe_a_part_and_all_parts() -> None:
    assert part_line(line(3, PartStatus.FAILED, note="no space left")) == "p0003 [2020]-03: failed: no space left"
    assert part_line(line(3, PartStatus.DONE, worked=100, seconds=4.0)) == "p0003 [2020]-03: done, 25.0 films/s"
    assert board_line(BoardSnapshot((), 0.0, "waits for run night")) == "waits for run night"
    board = ProgressBoard([])
    assert board_line(board.snapshot()).startswith("parts: 0 done, 0 running, 0 failed, 0 left; 0 of 0 films")


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (425, "7 min 05 s"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")]
)
def test_duration_text(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (2048, "2.0 KiB"), (150 * 2**20, "150 MiB")])
def test_size_text(count: int, text: str) -> None:
    assert size_text(count) == text
