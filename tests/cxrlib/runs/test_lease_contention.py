"""The lease under contention: threads, buckets and killed processes hold it one at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cxrlib.errors import BusyError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease
from cxrlib.runs.lease import LeaseTerms
from tests.support.paths import ROOT

SCOPE = "fake-01234567-89abcdef"


@pytest.fixture
def results() -> ResultsRoot:
    return ResultsRoot.at(f"memory://{uuid.uuid4()}/out")


def _contend(results: ResultsRoot, terms: LeaseTerms, *, claimants: int, rounds: int) -> tuple[int, int]:
    """Let threads contend for a lease; return how often it was held, and the largest number of holders at once."""
    lock = threading.Lock()
    holders: list[str] = []
    most = held_times = 0

    def claimant(number: int) -> None:
        nonlocal most, held_times
        for turn in range(rounds):
            held = lease.acquire(results, SCOPE, f"{number}-{turn}", terms)
            with lock:
                holders.append(held.name)
                held_times += 1
                most = max(most, len(holders))
            lease.check(results, held)
            time.sleep(0.002)
            with lock:
                holders.remove(held.name)
            lease.release(results, held)

    with ThreadPoolExecutor(claimants) as pool:
        list(pool.map(claimant, range(claimants)))
    return held_times, most


def test_contending_threads_take_turns_on_a_local_disk(tmp_path: Path) -> None:
    terms = LeaseTerms(ttl_s=0.4, wait_s=60)
    assert _contend(ResultsRoot.at(str(tmp_path)), terms, claimants=4, rounds=3) == (12, 1)


def test_contending_threads_take_turns_in_memory(results: ResultsRoot) -> None:
    assert _contend(results, LeaseTerms(ttl_s=0.4, wait_s=60), claimants=4, rounds=3) == (12, 1)


def test_contending_threads_take_turns_without_conditional_puts(
    results: ResultsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResultsRoot, "can_create", lambda self: False)
    terms = LeaseTerms(ttl_s=2.0, wait_s=60, settle_s=0.3)
    assert _contend(results, terms, claimants=3, rounds=2) == (6, 1)


def test_bucket_with_conditional_puts_uses_them() -> None:
    pytest.importorskip("moto", reason="the S3 stand-in comes with the demo extra")
    from cxr_flows.demo.s3_stub import s3_stub

    with s3_stub("leases") as bucket:
        results = ResultsRoot.at(f"{bucket}/out")
        assert results.can_create()
        assert results.create("x", b"1")
        assert not results.create("x", b"2")
        assert results.create("x", b"1"), "a repeated put is recognised as our own"
        assert _contend(results, LeaseTerms(ttl_s=0.8, wait_s=60), claimants=3, rounds=2) == (6, 1)


def test_server_that_ignores_conditional_puts_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("moto", reason="the S3 stand-in comes with the demo extra")
    import s3fs

    from cxr_flows.demo.s3_stub import s3_stub

    with s3_stub("leases") as bucket:
        pipe = s3fs.S3FileSystem._pipe_file

        async def ignoring_mode(self: Any, path: str, data: bytes, mode: str = "overwrite", **rest: Any) -> None:
            await pipe(self, path, data, **rest)

        monkeypatch.setattr(s3fs.S3FileSystem, "_pipe_file", ignoring_mode)
        s3fs.S3FileSystem.clear_instance_cache()  # an instance keeps the methods it was made with
        results = ResultsRoot.at(f"{bucket}/out")
        assert not results.can_create()
        held = lease.acquire(results, SCOPE, "one", LeaseTerms(ttl_s=60, settle_s=0.2))
        with pytest.raises(BusyError):
            lease.acquire(results, SCOPE, "two", LeaseTerms(ttl_s=60, settle_s=0.2))
        lease.check(results, held)


def test_killed_holder_is_replaced_at_once_here_and_after_its_time_to_live_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = ResultsRoot.at(str(tmp_path))
    code = (
        "import sys, time; from cxrlib.runs.lease_context import hold_lease; from cxrlib.runs.lease import LeaseTerms;"
        "from cxrlib.results.objects import ResultsRoot\n"
        "terms = LeaseTerms(ttl_s=float(sys.argv[1]))\n"
        f"with hold_lease(ResultsRoot.at({str(tmp_path)!r}), {SCOPE!r}, 'killed', terms):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    root = ROOT
    for here in (True, False):
        terms = LeaseTerms(ttl_s=60.0 if here else 4.0)
        command = [sys.executable, "-c", code, str(terms.ttl_s)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            if not here:
                monkeypatch.setattr(lease, "is_alive", lambda mark: None)
            with pytest.raises(BusyError, match="run killed"):
                lease.acquire(results, SCOPE, "next", terms)
            holder.kill()
            holder.wait()  # the signal is only sent by then
            began = time.monotonic()
            held = lease.acquire(results, SCOPE, "next", terms)
            took = time.monotonic() - began
            assert took < terms.ttl_s / 2 if here else took > terms.ttl_s
            lease.release(results, held)
