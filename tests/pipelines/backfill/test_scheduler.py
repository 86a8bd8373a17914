"""The scheduler of a backfill: its limit of parallel parts, the lease that it shares, pauses, failures and retries."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_pipelines.backfill import scheduler
from cxr_pipelines.backfill.progress import PartStatus, ProgressBoard
from cxr_pipelines.backfill.scheduler import run_parts
from cxr_pipelines.backfill.work import BackfillWork, Ending, RunPart
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import RunManifest
from cxrlib.backfills import stored
from cxrlib.errors import BusyError, RunError, UsageError
from cxrlib.results.objects import ResultsRoot
from cxrlib.results.verify import verify
from cxrlib.runs import lease, lease_chain
from cxrlib.runs.lease import LeaseTerms
from cxrlib.runs.lease_context import hold_lease
from tests.support.backfills import SETTINGS, ScoreInProcess, new_backfill, work_on, write_films_by_year
from tests.support.fakes import FakeEngineFactory
from tests.support.small_archives import score_films

pytestmark = pytest.mark.usefixtures("_brisk")


@pytest.fixture
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("CHECK_EVERY_S", 0.1), ("_TICK_S", 0.05), ("_LEASE_RETRY_S", 0.1), ("YIELD_S", 30.0)):
        monkeypatch.setattr(scheduler, name, seconds)


def begin(tmp_path: Path, years: int = 3, films: int = 6, **rest: object) -> tuple[BackfillWork, ProgressBoard]:
    """Cut an archive of a few years into parts, and return the backfill and its board."""
    archive = write_films_by_year(tmp_path / "in", range(2020, 2020 + years), films)
    work = work_on(new_backfill(archive, tmp_path / "out"), tmp_path / "out", **rest)
    return work, board_of(work)


def board_of(work: BackfillWork) -> ProgressBoard:
    return ProgressBoard(stored.part_states(work.results, work.manifest))


class _Faulty:
    """Scores parts, and first fails at each part as often as `failures` says."""

    def __init__(self, error: Exception, **failures: int) -> None:
        self.error = error
        self.failures = Counter(failures)
        self.runs: list[str] = []
        self._score = ScoreInProcess()

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        part = stored.part_run(job.run_id)
        assert part is not None
        self.runs.append(job.run_id)
        if self.failures[part.part] > 0:
            self.failures[part.part] -= 1
            raise self.error
        return self._score(job, on_progress, stop)


def test_each_part_is_a_run_and_every_film_has_an_outcome(tmp_path: Path) -> None:
    work, board = begin(tmp_path)
    ticks: list[float] = []
    assert run_parts(work, board, ScoreInProcess(), lambda got: ticks.append(got.snapshot().percent)) is Ending.FINISHED
    assert work.results.runs() == ("b-p0001", "b-p0002", "b-p0003")
    view = board.snapshot()
    assert (view.count(PartStatus.DONE), view.left, view.percent, ticks[0]) == (3, 0, 100.0, 0.0)
    assert sum(line.worked for line in view.lines) == 18
    report = verify(work.results.root)
    assert (report.ok, report.runs, report.score_rows) == (True, 3, 18)
    assert not any(lease_chain.is_held(claim) for claim in lease_chain.current_claims(work.results, work.scope))
    assert run_parts(work, board_of(work), _Faulty(RunError("must not run"), p0001=9)) is Ending.FINISHED


def test_at_most_the_given_number_of_parts_runs_at_once(tmp_path: Path) -> None:
    work, board = begin(tmp_path, years=5, films=2, parallel=2)
    barrier = threading.Barrier(2)
    at_once: list[int] = []

    def both(job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        if job.run_id in ("b-p0001", "b-p0002"):
            barrier.wait(30)  # needs two parts that run at once
        at_once.append(board.snapshot().count(PartStatus.RUNNING))
        return ScoreInProcess()(job, on_progress, stop)

    assert run_parts(work, board, both) is Ending.FINISHED
    assert max(at_once) == 2


def test_failed_part_is_retried_after_the_others(tmp_path: Path) -> None:
    work, board = begin(tmp_path, films=2, retries=1)
    faulty = _Faulty(RunError("the scoring process was ended by SIGKILL"), p0001=1)
    assert run_parts(work, board, faulty) is Ending.FINISHED
    assert faulty.runs == ["b-p0001", "b-p0002", "b-p0003", "b-p0001"]
    assert stored.failed_parts(stored.part_states(work.results, work.manifest)) == []
    assert board.snapshot().count(PartStatus.DONE) == 3


def test_usage_error_is_not_retried_and_the_part_can_be_retried_alone(tmp_path: Path) -> None:
    work, board = begin(tmp_path, films=2)
    faulty = _Faulty(UsageError("the inventory cannot be read"), p0002=9)
    assert run_parts(work, board, faulty) is Ending.FINISHED
    assert faulty.runs == ["b-p0001", "b-p0002", "b-p0003"], "a usage error stays a usage error"
    assert [line.note for line in board.snapshot().lines if line.status is PartStatus.FAILED] == [
        "the inventory cannot be read"
    ]
    (part,) = stored.failed_parts(stored.part_states(work.results, work.manifest))
    assert (part.entry.part, part.failure and part.failure.run_id) == ("p0002", "b-p0002")

    alone = _Faulty(RunError("unused"))
    assert (
        run_parts(work_on(work.manifest, tmp_path / "out", only_failed=True), board_of(work), alone) is Ending.FINISHED
    )
    assert alone.runs == ["b-p0002"]
    assert verify(work.results.root).score_rows == 6


def test_part_with_retryable_rejects_is_retried_by_a_second_run(tmp_path: Path) -> None:
    work, board = begin(tmp_path, years=2, films=3)
    lost = tmp_path / "in" / "2021" / "film0001.png"
    data = lost.read_bytes()
    lost.unlink()
    lost.mkdir()  # it is listed, and cannot be read
    assert run_parts(work, board, ScoreInProcess()) is Ending.FINISHED
    (part,) = stored.failed_parts(stored.part_states(work.results, work.manifest))
    assert (part.entry.label, part.retryable) == ("2021", 1)
    lost.rmdir()
    lost.write_bytes(data)
    again = work_on(work.manifest, tmp_path / "out", only_failed=True)
    run_parts(again, board_of(again), ScoreInProcess())
    assert work.results.runs() == ("b-p0001", "b-p0001-2", "b-p0002")
    report = verify(work.results.root)
    assert report.ok


def test_three_failures_in_a_row_end_the_backfill(tmp_path: Path) -> None:
    work, board = begin(tmp_path, years=5, films=1)
    faulty = _Faulty(RunError("no space left"), **{f"p000{n}": 9 for n in range(1, 6)})
    with pytest.raises(RunError, match=r"p0001, p0002, p0003 failed in a row.*no space left"):
        run_parts(work, board, faulty)
    assert len(faulty.runs) == 3
    assert board.snapshot().count(PartStatus.WAITING) == 2


def _when(condition: Callable[[], bool], action: Callable[[], None]) -> threading.Thread:
    """Run `action` in a thread as soon as `condition` is true."""

    def watch() -> None:
        deadline = time.monotonic() + 60
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        action()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


@pytest.mark.parametrize(("batch_size", "most"), [(2, 3), (3, 5)])
def test_pause_stops_the_parts_releases_the_lease_and_keeps_settled_films(
    tmp_path: Path, batch_size: int, most: int
) -> None:
    settings = SETTINGS.model_copy(update={"run": SETTINGS.run.model_copy(update={"batch_size": batch_size})})
    work, board = begin(tmp_path, years=2, films=40, parallel=2, settings=settings)
    pause = _when(
        lambda: sum(line.worked for line in board.snapshot().lines) >= 8,
        lambda: stored.request_pause(work.results, "b"),
    )
    log = tmp_path / "log"
    assert run_parts(work, board, ScoreInProcess(0.05, log)) is Ending.PAUSED
    pause.join()
    assert not any(lease_chain.is_held(claim) for claim in lease_chain.current_claims(work.results, work.scope))
    states = stored.part_states(work.results, work.manifest)
    settled = sum(state.settled or 0 for state in states)
    assert 0 < settled < 80
    assert board.snapshot().count(PartStatus.OPEN) >= 1
    assert run_parts(work, board_of(work), ScoreInProcess()) is Ending.PAUSED, "it stays paused until it is resumed"

    stored.cancel_pause(work.results, "b")
    resumed = board_of(work)
    assert run_parts(work, resumed, ScoreInProcess(0.0, log)) is Ending.FINISHED
    assert sum(line.worked for line in resumed.snapshot().lines) == 80 - settled
    films = Counter(line.split()[1] for line in log.read_text().splitlines())
    assert len(films) == 80
    # Each of two parts loses the chunk in progress, and a second one if a batch holds films of both; see
    # `test_interrupted_run_loses_the_chunk_in_progress_and_chunks_of_the_same_batch` in test_score.
    assert sum(films.values()) - 80 <= 2 * most
    assert verify(work.results.root).score_rows == 80


def test_waiting_nightly_run_goes_first_and_settled_films_are_not_scored_twice(tmp_path: Path) -> None:
    # A chunk is a whole number of batches, as by default on 1, 2, 4 or 8 cores. Otherwise two chunks may be lost.
    whole = SETTINGS.model_copy(update={"run": SETTINGS.run.model_copy(update={"batch_size": 2})})
    work, board = begin(tmp_path, years=2, films=30, settings=whole)
    log = tmp_path / "log"
    nights: list[RunManifest] = []
    patient = whole.model_copy(update={"run": whole.run.model_copy(update={"lease_wait_s": 60.0})})

    def nightly() -> None:
        # Every second film, so that no chunk of this run is a chunk of the part: the part's plan becomes stale.
        odd, engine = tmp_path / "in" / "2021" / "*[13579].png", FakeEngineFactory(log)
        nights.append(score_films(odd, work.results.root, patient, run_id="night", engine=engine))

    night = _when(lambda: sum(line.worked for line in board.snapshot().lines) >= 6, nightly)
    notices: set[str] = set()
    ending = run_parts(work, board, ScoreInProcess(0.05, log), lambda got: notices.add(got.snapshot().notice))
    night.join()
    assert ending is Ending.FINISHED
    (manifest,) = nights
    assert 0 < manifest.counts.scored < 15, "the nightly run scored the films that the part had not settled"
    assert "lets run night go first" in notices
    assert "b-p0001-2" in work.results.runs(), "a new run follows a stale plan"
    report = verify(work.results.root)
    assert (report.ok, report.score_rows) == (True, 60)
    films = Counter(line.split()[1] for line in log.read_text().splitlines())
    assert sum(films.values()) - 60 <= SETTINGS.run.chunk_size, "only the chunk in progress is scored again"


def test_second_process_on_a_backfill_is_busy_and_another_run_is_awaited(tmp_path: Path) -> None:
    work, board = begin(tmp_path, years=1, films=2)
    with hold_lease(work.results, work.scope, "b", LeaseTerms(ttl_s=60)), pytest.raises(BusyError, match="run b "):
        run_parts(work, board, ScoreInProcess())
    held = lease.acquire(work.results, work.scope, "night", LeaseTerms(ttl_s=60))
    free = _when(
        lambda: "waits for run night" in board.snapshot().notice,
        lambda: lease.release(ResultsRoot.at(work.results.root), held),
    )
    assert run_parts(work, board, ScoreInProcess()) is Ending.FINISHED
    free.join()


def test_backfill_that_loses_its_lease_stops_and_continues_later(tmp_path: Path) -> None:
    quick = SETTINGS.model_copy(update={"run": SETTINGS.run.model_copy(update={"lease_ttl_s": 1.0})})
    archive = write_films_by_year(tmp_path / "in", [2020], 30)
    manifest = new_backfill(archive, tmp_path / "out", settings=quick)
    work = work_on(manifest, tmp_path / "out", settings=quick)
    board = board_of(work)
    stolen: list[str] = []

    def steal() -> None:
        (standing,) = lease_chain.current_claims(work.results, work.scope)[-1:]
        lease.release(work.results, standing)
        taken = lease.acquire(work.results, work.scope, "thief", LeaseTerms(ttl_s=60))
        time.sleep(0.5)
        lease.release(work.results, taken)
        stolen.append(taken.name)

    theft = _when(lambda: board.snapshot().left < 30, steal)
    assert run_parts(work, board, ScoreInProcess(0.05)) is Ending.FINISHED
    theft.join()
    assert stolen
    assert verify(work.results.root).score_rows == 30


def test_pause_on_a_cluster_waits_for_running_parts(tmp_path: Path) -> None:
    work, board = begin(tmp_path, years=3, films=2, runner="flink")
    stops: list[bool] = []

    def submit(job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        assert job.runner == "flink"
        stored.request_pause(work.results, "b")
        time.sleep(0.5)
        stops.append(stop.is_set())
        return ScoreInProcess()(job.model_copy(update={"runner": "local"}), on_progress, stop)

    runs: RunPart = submit
    assert run_parts(work, board, runs) is Ending.PAUSED
    assert stops == [False]
    assert board.snapshot().count(PartStatus.DONE) == 1
