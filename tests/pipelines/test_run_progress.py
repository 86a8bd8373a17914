"""Progress of a run: films counted in this process, chunks settled in the store."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cxr_pipelines import run_progress
from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.plan import Chunk

CHUNKS = [Chunk("a", 0, 3), Chunk("b", 3, 2)]


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_progress, "INTERVAL_S", 0.01)
    monkeypatch.setattr(run_progress, "LISTING_S", 0.01)


def test_films_of_this_process_are_reported(tmp_path: Path) -> None:
    reported: list[tuple[int, int]] = []
    seen = threading.Event()

    def callback(done: int, total: int) -> None:
        reported.append((done, total))
        if done == 2:
            seen.set()

    with run_progress.reporting(callback, ResultsRoot.at(str(tmp_path)), "b-1", "r", CHUNKS):
        run_progress.count_film("r")
        run_progress.count_film("r")
        run_progress.count_film("another run")
        assert seen.wait(5)
    assert reported[-1] == (2, 5)
    assert run_progress.films_counted("r") == 0


def test_chunks_settled_by_other_processes_are_reported(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    reported: list[tuple[int, int]] = []
    with run_progress.reporting(lambda *at: reported.append(at), results, "b-1", "r", CHUNKS):
        results.settle("b-1", "a", scores=b"", rejects=b"")
        results.settle("b-1", "of another run", scores=b"", rejects=b"")
    assert reported[-1] == (3, 5)


def test_films_settled_before_count_once(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    results.settle("b-1", "a", scores=b"", rejects=b"")
    reported: list[tuple[int, int]] = []
    with run_progress.reporting(lambda *at: reported.append(at), results, "b-1", "r", CHUNKS):
        for _ in range(2):
            run_progress.count_film("r")
        results.settle("b-1", "b", scores=b"", rejects=b"")
    assert reported[-1] == (5, 5)


def test_no_thread_is_started_without_a_callback(tmp_path: Path) -> None:
    before = threading.active_count()
    with run_progress.reporting(None, ResultsRoot.at(str(tmp_path)), "b-1", "r", CHUNKS):
        assert threading.active_count() == before


def test_unreachable_store_is_asked_again_silently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    results = ResultsRoot.at(str(tmp_path))
    listed = ResultsRoot.chunks
    refused: list[str] = []

    def away(self: ResultsRoot, kind: RowKind, partition: str) -> frozenset[str]:
        if len(refused) < 3:
            refused.append(partition)
            raise OSError("cannot connect to http://10.0.0.1:9000")
        return listed(self, kind, partition)

    monkeypatch.setattr(ResultsRoot, "chunks", away)
    reported: list[tuple[int, int]] = []
    with run_progress.reporting(lambda *at: reported.append(at), results, "b-1", "r", CHUNKS):
        results.settle("b-1", "a", scores=b"", rejects=b"")
        deadline = time.monotonic() + 30
        while not (reported and reported[-1][0] == 3) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert reported[-1] == (3, 5)
    assert len(refused) == 3
    assert capfd.readouterr().err == ""
