"""The lease of a results root: one holder at a time, whichever process dies and however calls interleave."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cxrlib.errors import BusyError, LeaseLostError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease, lease_chain
from cxrlib.runs.lease import Clock, LeaseTerms
from cxrlib.runs.lease_chain import Claim, LeaseState
from cxrlib.runs.lease_context import hold_lease
from cxrlib.runs.process_identity import ProcessIdentity, is_alive, this_process
from tests.support.paths import ROOT

TERMS = LeaseTerms(ttl_s=60.0)
SCOPE = "fake-01234567-89abcdef"


class Hours:
    """A clock that only `sleep` advances."""

    def __init__(self) -> None:
        self.now = 0.0
        self.on_sleep: Callable[[], None] = lambda: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.on_sleep()

    def clock(self) -> Clock:
        return Clock(lambda: self.now, self.sleep)


@pytest.fixture
def results() -> ResultsRoot:
    return ResultsRoot.at(f"memory://{uuid.uuid4()}/out")


@pytest.fixture(params=["conditional", "timed"])
def any_store(request: pytest.FixtureRequest, results: ResultsRoot, monkeypatch: pytest.MonkeyPatch) -> ResultsRoot:
    """A store with conditional puts, and one without."""
    if request.param == "timed":
        monkeypatch.setattr(ResultsRoot, "can_create", lambda self: False)
    return results


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every holder is a process of another machine: only its renewals show that it is alive."""
    monkeypatch.setattr(lease, "this_process", lambda: ProcessIdentity(machine="another", pid=1, started=1))


def take(results: ResultsRoot, run_id: str, hours: Hours, terms: LeaseTerms = TERMS) -> Claim:
    return lease.acquire(results, SCOPE, run_id, terms, hours.clock())


def test_live_holder_on_this_machine_makes_a_second_run_fail_at_once(any_store: ResultsRoot) -> None:
    hours = Hours()
    take(any_store, "one", hours)
    began = hours.now
    with pytest.raises(BusyError, match=r"is being written by run one .* process \d+"):
        take(any_store, "two", hours)
    assert hours.now == began, "it did not wait"


def test_released_lease_is_taken_at_once(any_store: ResultsRoot) -> None:
    hours = Hours()
    first = take(any_store, "one", hours)
    lease.release(any_store, first)
    second = take(any_store, "two", hours)
    assert second.epoch == first.epoch + 1
    assert [claim.name for claim in lease_chain.current_claims(any_store, SCOPE)] == [second.name], (
        "older epochs are swept"
    )
    lease.check(any_store, second)
    with pytest.raises(LeaseLostError, match=r"run one lost the results root .* to run two"):
        lease.check(any_store, first)


@pytest.mark.usefixtures("elsewhere")
def test_holder_on_another_machine_is_known_alive_by_its_renewal(any_store: ResultsRoot) -> None:
    hours = Hours()
    first = take(any_store, "one", hours)
    hours.on_sleep = lambda: None if hours.now < 20 else (lease.renew(any_store, first), None)[1]
    with pytest.raises(BusyError, match="is being written by run one"):
        take(any_store, "two", hours)
    assert 20 <= hours.now < TERMS.ttl_s, "it was known to be alive before its time to live was over"


@pytest.mark.usefixtures("elsewhere")
def test_silent_holder_is_replaced_after_its_time_to_live_and_not_before(any_store: ResultsRoot) -> None:
    hours = Hours()
    first = take(any_store, "one", hours)
    began = hours.now
    second = take(any_store, "two", hours)
    assert TERMS.ttl_s < hours.now - began < TERMS.ttl_s + 20
    with pytest.raises(LeaseLostError):
        lease.renew(any_store, first)
    assert lease.renew(any_store, second).name == second.name


@pytest.mark.usefixtures("elsewhere")
def test_waiting_ends_when_the_holder_ends_or_the_wait_is_over(any_store: ResultsRoot) -> None:
    hours = Hours()
    first = take(any_store, "one", hours)
    began = hours.now

    def live() -> None:
        passed = hours.now - began
        if passed < 300:
            lease.renew(any_store, first)
        else:
            lease.release(any_store, first)

    hours.on_sleep = live
    with pytest.raises(BusyError, match=r"after 100 s of waiting"):
        take(any_store, "two", hours, LeaseTerms(ttl_s=60, wait_s=100))
    assert 100 <= hours.now - began < 110
    assert take(any_store, "three", hours, LeaseTerms(ttl_s=60, wait_s=1000)).record.run_id == "three"
    assert hours.now - began < 320


def test_lease_removed_by_hand_is_lost(any_store: ResultsRoot) -> None:
    held = take(any_store, "one", Hours())
    any_store.delete(held.key)
    with pytest.raises(LeaseLostError, match="to nobody: its lease was removed"):
        lease.check(any_store, held)


def test_leases_of_different_scopes_are_independent(any_store: ResultsRoot) -> None:
    hours = Hours()
    take(any_store, "one", hours)
    lease.acquire(any_store, "another", "two", TERMS, hours.clock())
    assert lease_chain.scopes(any_store) == ("another", SCOPE)


def test_record_that_is_still_being_written_blocks_for_its_time_to_live(results: ResultsRoot) -> None:
    hours = Hours()
    results.put(f"_leases/{SCOPE}/0000000001.json", b"")
    assert take(results, "two", hours).epoch == 2
    assert hours.now > TERMS.ttl_s


def test_claim_from_a_stale_view_fails_and_is_deleted(results: ResultsRoot) -> None:
    hours = Hours()
    first = take(results, "one", hours)
    lease.release(results, first)
    second = take(results, "two", hours)
    stale = Claim(SCOPE, first.name, first.record.model_copy(update={"token": "late"}))
    assert lease._create(results, stale) is None
    lease.check(results, second)
    assert [claim.name for claim in lease_chain.current_claims(results, SCOPE)] == [second.name]


def test_claimant_that_is_slow_to_mark_its_claim_held_gives_up(
    results: ResultsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResultsRoot, "can_create", lambda self: False)
    hours = Hours()
    put, slow = ResultsRoot.put, [True]

    def slow_put(self: ResultsRoot, key: str, data: bytes) -> None:
        if slow and b'"held"' in data:
            slow.pop()
            hours.now += TERMS.settle_s
        put(self, key, data)

    monkeypatch.setattr(ResultsRoot, "put", slow_put)
    held = take(results, "one", hours)
    assert held.record.state is LeaseState.HELD
    assert not slow, "it gave up its first claim and won with a later one"
    assert len(lease_chain.current_claims(results, SCOPE)) == 1


class Nights(RuleBasedStateMachine):
    """Runs start, renew, hang, wake up and end in any order, on machines that know nothing of each other."""

    def __init__(self) -> None:
        super().__init__()
        self.results = ResultsRoot.at(f"memory://{uuid.uuid4()}/out")
        self.hours = Hours()
        self.hours.on_sleep = self.renew_the_living
        self.living: dict[str, Claim] = {}
        self.asleep: dict[str, Claim] = {}
        self.count = 0

    def renew_the_living(self) -> None:
        for run_id, held in self.living.items():
            self.living[run_id] = lease.renew(self.results, held)

    @rule(wait_s=st.sampled_from([0.0, 30.0]))
    def begin(self, wait_s: float) -> None:
        self.count += 1
        run_id = f"night{self.count}"
        terms = LeaseTerms(ttl_s=60, wait_s=wait_s)
        real, lease.this_process = lease.this_process, lambda: ProcessIdentity(machine="another", pid=1, started=1)
        try:
            held = lease.acquire(self.results, SCOPE, run_id, terms, self.hours.clock())
        except BusyError:
            assert self.living, "busy without a live holder"
            return
        finally:
            lease.this_process = real
        assert not self.living, "two hold it"
        self.living[run_id] = held

    @rule()
    def fall_asleep(self) -> None:
        while self.living:
            run_id, held = self.living.popitem()
            self.asleep[run_id] = held

    @rule()
    def wake_up(self) -> None:
        while self.asleep:
            run_id, held = self.asleep.popitem()
            try:
                self.living[run_id] = lease.renew(self.results, held)
            except LeaseLostError:
                continue

    @rule()
    def end(self) -> None:
        while self.living:
            lease.release(self.results, self.living.popitem()[1])

    @invariant()
    def at_most_one_may_commit(self) -> None:
        able = 0
        for held in [*self.living.values(), *self.asleep.values()]:
            try:
                lease.check(self.results, held)
            except LeaseLostError:
                continue
            able += 1
        assert able <= 1
        assert len(self.living) <= 1


TestNights = Nights.TestCase
TestNights.settings = hypothesis_settings(max_examples=25, stateful_step_count=12, deadline=None)


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


def test_held_lease_is_renewed_reports_a_loss_and_is_released(results: ResultsRoot) -> None:
    lost = threading.Event()
    terms = LeaseTerms(ttl_s=0.2)
    with hold_lease(results, SCOPE, "one", terms, on_lost=lambda error: lost.set()) as first:
        taken_at = first.claim.record.renewed_at
        time.sleep(0.3)
        first.check()
        assert first.claim.record.renewed_at > taken_at
        results.delete(first.claim.key)
        assert lost.wait(10)
        with pytest.raises(LeaseLostError):
            first.check()
    with hold_lease(results, SCOPE, "two", terms) as second:
        pass
    (claim,) = lease_chain.current_claims(results, SCOPE)
    assert (claim.name, claim.record.state) == (second.claim.name, LeaseState.RELEASED)


def test_lease_survives_a_store_that_does_not_answer_for_a_while(
    results: ResultsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hold_lease(results, SCOPE, "one", LeaseTerms(ttl_s=0.2)) as held:
        with monkeypatch.context() as patch:

            def down(self: ResultsRoot, folder: str) -> list[str]:
                raise ConnectionError("the store is down")

            patch.setattr(ResultsRoot, "names", down)
            time.sleep(0.4)
        before = held.claim.record.renewed_at
        time.sleep(0.3)
        held.check()
        assert held.claim.record.renewed_at > before


def test_process_is_alive_dead_or_unknown() -> None:
    mark = this_process()
    if not mark.machine:
        pytest.skip("this system tells no boot id: a lease then runs out by its time to live")
    assert is_alive(mark) is True
    assert is_alive(mark.model_copy(update={"started": mark.started + 1})) is False, "another process got its pid"
    assert is_alive(mark.model_copy(update={"machine": "another"})) is None
