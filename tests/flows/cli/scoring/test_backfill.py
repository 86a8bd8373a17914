"""`cxr backfill` from its command line: started, shown, paused, resumed; what is asked for wrongly is told at once."""

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
from cxr_flows.reports.backfill import board_line, part_line, size, spoken
from cxr_pipelines.backfill import scheduler
from cxr_pipelines.backfill.progress import BoardSnapshot, PartLine, PartStatus, ProgressBoard
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import PartEntry, RunManifest
from cxrlib.backfills.stored import ask_to_pause, part_states, require_backfill
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


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
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
            ask_to_pause(ResultsRoot.at(out), "old")
            stop.wait(30)
        return scores(job, note, stop)

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", pause_in_the_second)
    begun = main(["backfill", archive, "--out", out, "--id", "old", "--by", "year", "--json"])
    assert begun == Exit.INTERRUPTED
    said = capsys.readouterr()
    assert json.loads(said.out)["done"] == 1
    assert "backfill old: 6 objects in 3 parts" in said.err
    assert "p0001 2022: done" in said.err
    assert "it is paused; `cxr backfill resume old" in said.err

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", scores)
    monkeypatch.delenv("CXR_READ__MIN_SIDE")  # it is read from the results root
    assert main(["backfill", "resume", "old", "--out", out, "--json"]) == Exit.SETTLED
    totals = told(capsys)
    assert (totals["done"], totals["parts"], totals["scored"]) == (3, 3, 6)
    assert main(["backfill", "show", "old", "--out", out, "--json"]) == Exit.SETTLED
    assert told(capsys) == totals
    assert main(["backfill", "pause", "old", "--out", out]) == Exit.SETTLED
    assert main(["backfill", "show", "old", "--out", out]) == Exit.SETTLED
    assert "it is paused" in capsys.readouterr().out


def test_part_that_fell_ends_with_one_and_is_retried_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, out = str(write_films_by_year(tmp_path / "in", [2020, 2021], 2)), str(tmp_path / "out")
    scores = ScoreInProcess()

    def fall(job: ScoreJob, note: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        if job.run_id == "old-p0002":
            raise UsageError("the inventory cannot be read")
        return scores(job, note, stop)

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", fall)
    arguments = ["backfill", "start", archive, "--out", out, "--id", "old", "--by", "year"]
    assert main(arguments) == Exit.COULD_NOT_RUN
    said = capsys.readouterr()
    assert "p0002 2020: failed: the inventory cannot be read" in said.err
    assert "1 parts fell: `cxr backfill resume old --retry-failed`" in said.out
    assert main(arguments) == Exit.USAGE
    assert "is cut already" in capsys.readouterr().err

    monkeypatch.setattr("cxr_pipelines.jobs.run_job.run_job", scores)
    assert main(["backfill", "resume", "old", "--out", out, "--retry-failed", "--quiet"]) == Exit.SETTLED
    results = ResultsRoot.at(out)
    states = part_states(results, require_backfill(results, "old"))
    assert [state.run_id for state in states] == ["old-p0001", "old-p0002"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "3", "--by", "year"], "--parts cuts by count"),
        (["--runner", "dask"], "the runner dask is refused"),
        (["--runner", "flink", "--workers", "2"], "--workers is for the local runner"),
        (["--wait", "3"], "No such option"),
        (["--id", "a/b"], "expected the id of a backfill"),
    ],
)
def test_what_is_asked_for_wrongly_ends_with_two_and_stores_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    archive = str(write_films_by_year(tmp_path / "in", [2020], 1))
    assert main(["backfill", archive, "--out", str(tmp_path / "out"), *arguments]) == Exit.USAGE
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_backfill_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("resume", "pause", "show"):
        assert main(["backfill", name, "nothing", "--out", str(tmp_path)]) == Exit.USAGE
        assert "none was ever started there" in capsys.readouterr().err


def line(number: int, look: PartStatus, **rest: Any) -> PartLine:
    entry = PartEntry(part=f"p{number:04d}", label=f"[2020]-{number:02d}", objects=100, bytes=2**20)
    return PartLine(entry, look, **{"left": 0 if look is PartStatus.DONE else 60, **rest})


def test_table_shows_first_what_something_happens_to() -> None:
    looks = [*[PartStatus.DONE] * 20, PartStatus.FAILED, PartStatus.RUNNING, *[PartStatus.WAITING] * 20]
    lines = tuple(line(number, look, worked=40, seconds=20.0) for number, look in enumerate(looks, 1))
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(parts_table(BoardSnapshot(lines, 60.0), 6))
    said = console.export_text()
    assert "parts: 20 done, 1 running, 1 failed, 20 left" in said
    assert "[2020]-22" in said, "a label in brackets is no markup"
    assert "running" in said
    assert "30 s" in said, "60 films are left at 2 a second"
    assert "p0021" in said
    assert "and 37 more parts" in said


def test_log_has_a_line_for_each_change() -> None:
    assert part_line(line(3, PartStatus.FAILED, note="no space left")) == "p0003 [2020]-03: failed: no space left"
    assert part_line(line(3, PartStatus.DONE, worked=100, seconds=4.0)) == "p0003 [2020]-03: done, 25.0 films/s"
    assert board_line(BoardSnapshot((), 0.0, "waits for run night")) == "waits for run night"
    board = ProgressBoard([])
    assert board_line(board.snapshot()).startswith("parts: 0 done, 0 running, 0 failed, 0 left; 0 of 0 films")


@pytest.mark.parametrize(
    ("seconds", "said"), [(4.4, "4 s"), (425, "7 min 05 s"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")]
)
def test_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 B"), (2048, "2.0 KiB"), (150 * 2**20, "150 MiB")])
def test_bytes_are_said_as_people_say_them(count: int, said: str) -> None:
    assert size(count) == said
