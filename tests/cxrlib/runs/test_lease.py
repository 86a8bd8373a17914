"""The lease of a results root: one holder at a time, whichever process dies and however calls interleave."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cxrlib.errors import BusyError, LeaseLostError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease, lease_chain
from cxrlib.runs.lease import Clock, LeaseTerms
from cxrlib.runs.lease_chain import Claim, LeaseState
from cxrlib.runs.process_identity import ProcessIdentity

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
