"""Holding a lease while a block runs: it is renewed, a loss is reported, it is released at the end."""

from __future__ import annotations

import threading
import time
import uuid

import pytest

from cxrlib.errors import LeaseLostError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease_chain
from cxrlib.runs.lease import LeaseTerms
from cxrlib.runs.lease_chain import LeaseState
from cxrlib.runs.lease_context import hold_lease

SCOPE = "fake-01234567-89abcdef"


@pytest.fixture
def results() -> ResultsRoot:
    return ResultsRoot.at(f"memory://{uuid.uuid4()}/out")


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
