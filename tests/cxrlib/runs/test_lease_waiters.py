"""Notes of runs that wait for a lease: they exist while a run waits, until it gets the lease, gives up or dies."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cxrlib.errors import BusyError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease, lease_chain
from cxrlib.runs.lease import LeaseTerms
from cxrlib.runs.lease_context import hold_lease
from cxrlib.runs.lease_waiters import Waiter, announced, waiters
from cxrlib.runs.process_identity import ProcessIdentity, this_process

TERMS = LeaseTerms(ttl_s=2.0)


def test_note_exists_while_the_block_runs_and_is_not_in_the_chain(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    held = lease.acquire(results, "scope", "backfill", TERMS)
    with announced(results, "scope", "nightly"):
        (waiter,) = waiters(results, "scope")
        assert (waiter.run_id, waiter.process) == ("nightly", this_process())
        assert [claim.record.run_id for claim in lease_chain.current_claims(results, "scope")] == ["backfill"]
        lease.check(results, held)
    assert waiters(results, "scope") == []


def test_run_that_waits_leaves_a_note_until_it_holds_the_lease(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    held = lease.acquire(results, "scope", "backfill", TERMS)
    got: list[int] = []

    def wait() -> None:
        with hold_lease(results, "scope", "nightly", LeaseTerms(ttl_s=2.0, wait_s=60.0)):
            got.append(len(waiters(results, "scope")))

    thread = threading.Thread(target=wait)
    thread.start()
    deadline = time.monotonic() + 30
    while not waiters(results, "scope") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [waiter.run_id for waiter in waiters(results, "scope")] == ["nightly"]
    lease.release(results, held)
    thread.join(30)
    assert got == [0]


def test_run_that_does_not_wait_leaves_no_note(tmp_path: Path) -> None:
    results = ResultsRoot.at(str(tmp_path))
    lease.acquire(results, "scope", "backfill", TERMS)
    with pytest.raises(BusyError), hold_lease(results, "scope", "nightly", TERMS):
        pass
    assert results.names("_leases/scope/waiting") == []


def test_note_of_a_dead_process_is_deleted(tmp_path: Path) -> None:
    if not this_process().machine:
        pytest.skip("this system does not tell which processes run")
    results = ResultsRoot.at(str(tmp_path))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    mark = ProcessIdentity(machine=this_process().machine, pid=int(gone.stdout), started=1)
    elsewhere = ProcessIdentity(machine="another", pid=1, started=1)
    for token, process in (("a", mark), ("b", elsewhere)):
        waiter = Waiter(token=token, run_id="r", host="h", process=process, since="2026-01-01T00:00:00Z")  # type: ignore[arg-type]
        results.put(f"_leases/scope/waiting/{token}.json", waiter.model_dump_json().encode())
    results.put("_leases/scope/waiting/c.json", b"half a no")
    assert [waiter.token for waiter in waiters(results, "scope")] == ["b"]
    assert sorted(results.names("_leases/scope/waiting")) == ["b.json", "c.json"]
