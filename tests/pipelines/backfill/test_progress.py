"""The progress board: films, speed and time left of parts that run at once, stop, fail and close."""

from __future__ import annotations

import pytest

from cxr_pipelines.backfill.progress import PartStatus, ProgressBoard
from cxr_schemas import PartEntry, PartFailure
from cxrlib.backfills.stored import PartStage, PartState
from tests.support.manifests import closed_manifest


def entry(number: int) -> PartEntry:
    return PartEntry(part=f"p{number:04d}", label=str(2020 + number), objects=100, bytes=1000)


class _Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_speed_counts_only_films_done_since_the_start() -> None:
    clock = _Clock()
    board = ProgressBoard(
        [
            PartState(entry(1), PartStage.DONE, 1, "b-p0001", closed_manifest(), 100, 100),
            PartState(entry(2), PartStage.BEGUN, 1, "b-p0002", None, 60, 100),
            PartState(entry(3), PartStage.WAITING),
        ],
        clock,
    )
    snapshot = board.snapshot()
    assert [line.status for line in snapshot.lines] == [PartStatus.DONE, PartStatus.OPEN, PartStatus.WAITING]
    assert (snapshot.left, snapshot.objects, snapshot.seconds_left) == (140, 300, None)
    board.begin("p0002", settled=60)
    board.begin("p0003")
    clock.seconds = 10.0
    board.progress("p0002", 80, 100)
    board.progress("p0003", 20, 90)  # ten objects are duplicates or were settled before
    snapshot = board.snapshot()
    assert snapshot.left == 20 + 70
    assert snapshot.films_per_second == pytest.approx(4.0), "the time of parts that run at once counts once"
    assert snapshot.seconds_left == pytest.approx(90 / 4.0)
    assert snapshot.percent == pytest.approx(100 * 210 / 300)
    assert [line.films_per_second for line in snapshot.lines] == pytest.approx([0.0, 2.0, 2.0])


def test_time_without_a_running_part_does_not_count() -> None:
    clock = _Clock()
    board = ProgressBoard([PartState(entry(1), PartStage.WAITING)], clock)
    clock.seconds = 100.0
    board.notice("waits for run night")
    assert board.snapshot().notice == "waits for run night"
    board.begin("p0001")
    clock.seconds = 110.0
    board.progress("p0001", 40, 100)
    board.stop("p0001")
    clock.seconds = 200.0
    snapshot = board.snapshot()
    assert (snapshot.lines[0].status, snapshot.seconds, snapshot.films_per_second) == (PartStatus.OPEN, 10.0, 4.0)
    board.begin("p0001", settled=40)
    clock.seconds = 205.0
    board.progress("p0001", 100, 100)
    board.close("p0001", closed_manifest())
    snapshot = board.snapshot()
    assert (snapshot.seconds, snapshot.films_per_second, snapshot.left, snapshot.seconds_left) == (
        15.0,
        pytest.approx(100 / 15),
        0,
        0,
    )


def test_failed_part_shows_its_error_until_it_runs_again() -> None:
    failure = PartFailure(run_id="b-p0001", message="no space left", failed_at="2026-01-01T00:00:00Z")  # type: ignore[arg-type]
    board = ProgressBoard([PartState(entry(1), PartStage.WAITING, failure=failure)])
    assert (board.snapshot().lines[0].status, board.snapshot().lines[0].note) == (PartStatus.FAILED, "no space left")
    board.begin("p0001")
    assert (board.snapshot().count(PartStatus.RUNNING), board.snapshot().lines[0].note) == (1, "")
    board.fail("p0001", "again")
    assert (board.snapshot().count(PartStatus.FAILED), board.snapshot().lines[0].note) == (1, "again")
