"""The worker pool: items that crash, hang or exhaust memory cost only themselves, and no process is left over."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrlib.errors import RunError
from cxrlib.parallel.worker_pool import WorkerPool, shared_pool
from cxrlib.parallel.worker_protocol import Loss, WorkerLimits
from tests.support.hostile_work import Hostile
from tests.support.paths import ROOT
from tests.support.processes import exists, wait_until

TERMS = WorkerLimits(processes=2, fetches=3, memory_mb=1024, seconds=2.0)


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    workers = WorkerPool(TERMS)
    yield workers
    workers.close()
    assert workers.pids == []


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("segfault", (Loss.DIED, "SIGSEGV")),
        ("exit", (Loss.DIED, "exit code 3")),
        ("die fetching", (Loss.DIED, "SIGSEGV")),
        ("kill", (Loss.MEMORY, "1024 MB")),
        ("eat", (Loss.MEMORY, "1024 MB")),
        ("eat fetching", (Loss.MEMORY, "1024 MB")),
        ("hang", (Loss.TIME, "2 s")),
        ("hang holding the GIL", (Loss.TIME, "2 s")),
        ("hang fetching", (Loss.TIME, "2 s")),
    ],
)
def test_item_that_ends_its_process_loses_no_other_item(
    workers: WorkerPool, item: str, expected: tuple[Loss, str]
) -> None:
    items = [f"{number}" for number in range(12)]
    items.insert(5, item)
    work = Hostile()
    futures = [workers.submit(work, each) for each in items]
    results = [future.result(60) for future in futures]
    assert results == [expected if each == item else each for each in items]


def test_suspect_is_retried_alone_in_a_new_process(workers: WorkerPool, tmp_path: Path) -> None:
    work = Hostile(tmp_path)
    futures = [workers.submit(work, item) for item in ("a", "segfault", "b", "c", "d")]
    assert futures[1].result(60) == (Loss.DIED, "SIGSEGV")
    assert [future.result(60) for future in futures[2:]] == ["b", "c", "d"]
    tries = sorted(path.read_text() for path in tmp_path.glob("segfault *"))
    assert len(tries) == len(set(tries)) == 2
    last = max(tmp_path.glob("segfault *"), key=lambda path: int(path.name.split()[1])).read_text()
    others = {path.read_text() for path in tmp_path.iterdir() if not path.name.startswith("segfault")}
    assert last not in others


def test_many_crashing_items_do_not_affect_the_others(workers: WorkerPool) -> None:
    items = [f"{number}" if number % 6 else "segfault" for number in range(30)]
    work = Hostile()
    futures = [workers.submit(work, item) for item in items]
    assert [future.result(120) for future in futures] == [
        (Loss.DIED, "SIGSEGV") if item == "segfault" else item for item in items
    ]


def test_error_of_the_work_is_raised_without_its_message(workers: WorkerPool) -> None:
    with pytest.raises(RunError, match="KeyError") as raised:
        workers.submit(Hostile(), "err").result(30)
    assert "DOE" not in str(raised.value)


def test_log_records_of_a_worker_reach_the_parent(workers: WorkerPool, caplog: pytest.LogCaptureFixture) -> None:
    workers.submit(Hostile(), "log").result(30)
    wait_until(lambda: caplog.records, seconds=5, poll_s=0.01)
    assert [(record.name, record.getMessage(), record.levelno) for record in caplog.records] == [
        ("cxrlib.hostile", "got a fault", logging.ERROR)
    ]


def test_workers_have_limits_and_import_only_what_their_work_needs(workers: WorkerPool) -> None:
    assert workers.submit(Hostile(), "modules").result(30) == []
    assert workers.submit(Hostile(), "limits").result(30) == (1024 * 2**20, 0)


def test_item_of_this_process_is_done_in_this_process(workers: WorkerPool) -> None:
    assert workers.submit(Hostile(), "needs this process").result(30) == "needs this process"


def test_cancelled_items_are_not_done(workers: WorkerPool, tmp_path: Path) -> None:
    work = Hostile(tmp_path)
    futures = [workers.submit(work, "slow") for _ in range(20)]
    cancelled = [future.cancel() for future in futures]
    assert any(cancelled)
    for future in futures:
        if not future.cancelled():
            future.result(30)
    workers.submit(work, "last").result(30)
    assert len(list(tmp_path.glob("slow *"))) == 20 - sum(cancelled)


def test_idle_processes_end_and_new_ones_start() -> None:
    workers = WorkerPool(TERMS, idle_s=0.2)
    pid = workers.submit(Hostile(), "pid").result(30)
    assert isinstance(pid, int)
    wait_until(lambda: not exists(pid), seconds=5, poll_s=0.02)
    assert workers.submit(Hostile(), "pid").result(30) != pid
    workers.close()


def test_close_ends_the_processes_and_fails_their_items() -> None:
    workers = WorkerPool(TERMS)
    pid = workers.submit(Hostile(), "pid").result(30)
    assert isinstance(pid, int)
    future = workers.submit(Hostile(), "hang")
    workers.close()
    wait_until(lambda: not exists(pid), seconds=0.1, poll_s=0.02)
    with pytest.raises(RunError, match="closed"):
        future.result(5)
    with pytest.raises(RunError, match="closed"):
        workers.submit(Hostile(), "1")


def test_failing_starts_raise_after_three_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxrlib.parallel.worker_process.COMMAND", (sys.executable, "-c", "raise SystemExit(9)"))
    workers = WorkerPool(TERMS)
    futures = [workers.submit(Hostile(), f"{number}") for number in range(4)]
    for future in futures:
        with pytest.raises(RunError, match="that starts; got 3 that ended: exit code 9"):
            future.result(30)
    workers.close()


def test_another_environment_gets_another_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    first = shared_pool(TERMS)
    assert shared_pool(TERMS) is first
    monkeypatch.setenv("HOSTILE", "1")
    second = shared_pool(TERMS)
    assert second is not first
    assert second.submit(Hostile(), "environment").result(30) == "1"
    first.close()
    second.close()
    assert shared_pool(TERMS) is not second


def test_imports_of_a_run_do_not_change_the_pool() -> None:
    """The readers start before Beam and torch are imported, and later chunks must use the same pool."""
    program = (
        "import sys; from cxrlib.settings import RunSettings\n"
        "from cxr_pipelines.reader_processes import reader_processes\n"
        "run = RunSettings(decode_workers=1); first = reader_processes(run)\n"
        "assert not {'torch', 'apache_beam', 'cxrlib.film_steps'} & set(sys.modules)\n"
        "import cxr_pipelines.score, cxr_pipelines.beam.run_graph\n"
        "import cxrlib.models.inference.torch_engine, cxrlib.reading.read\n"
        "assert reader_processes(run) is first"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# A shell's background job ignores SIGINT, and so do its children. This program must not.
PARENT = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from cxrlib.parallel.worker_protocol import WorkerLimits
from cxrlib.parallel.worker_pool import shared_pool
from tests.support.hostile_work import Hostile
workers = shared_pool(WorkerLimits(2, 2, 1024, 60.0))
futures = [workers.submit(Hostile(), "pid")]
futures[0].result()
futures += [workers.submit(Hostile(), "hang holding the GIL") for _ in range(2)]
time.sleep(1)
print(*workers.pids, flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
elif sys.argv[1] == "raise":
    raise SystemExit(5)
"""


@pytest.mark.parametrize("end", ["kill -9", "Ctrl-C", "exit"])
def test_hanging_processes_end_with_their_parent(end: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, "raise" if end == "exit" else "wait"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(pids) == 2
    if end == "kill -9":
        parent.kill()
    elif end == "Ctrl-C":
        os.killpg(parent.pid, signal.SIGINT)
    parent.wait(20)
    wait_until(lambda: not any(exists(pid) for pid in pids), seconds=10, poll_s=0.02)
    parent.stdout.close()


def test_prepared_processes_start_before_there_is_work() -> None:
    workers = WorkerPool(TERMS)
    try:
        workers.prepare(Hostile.__module__)
        wait_until(lambda: len(workers.pids) == TERMS.processes, seconds=30, poll_s=0.02)
        before = workers.pids
        assert workers.submit(Hostile(), "a").result(30) == "a"
        assert workers.pids == before
    finally:
        workers.close()
