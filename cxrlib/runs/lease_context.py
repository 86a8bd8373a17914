"""Hold a lease while a block of work runs: a thread renews it, and it is released at the end.

A run that waits for the lease says so in a note (`cxrlib.runs.lease_waiters`), so that a backfill can let it go first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cxrlib.errors import BusyError, LeaseLostError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease
from cxrlib.runs.lease import LeaseTerms
from cxrlib.runs.lease_chain import Claim
from cxrlib.runs.lease_waiters import announced

_log = logging.getLogger(__name__)


class HeldLease:
    """A lease that `hold_lease` holds.

    Parameters
    ----------
    results : ResultsRoot
    claim : Claim
        Its claim, as it was last stored.
    """

    def __init__(self, results: ResultsRoot, claim: Claim) -> None:
        self._results = results
        self.claim = claim

    def check(self) -> None:
        """Raise `LeaseLostError` where another run took the lease over. The results root is asked."""
        lease.check(self._results, self.claim)


@contextmanager
def hold_lease(
    results: ResultsRoot,
    scope: str,
    run_id: str,
    terms: LeaseTerms,
    *,
    on_lost: Callable[[LeaseLostError], None] | None = None,
) -> Iterator[HeldLease]:
    """Hold the lease of `scope` while the block runs.

    If the store does not answer, the work continues: the lease is held as long as nobody took it over. If another run
    took it over, the renewing thread calls `on_lost` once.

    Raises
    ------
    BusyError
        Another run holds the lease.
    """
    held = HeldLease(results, _acquired(results, scope, run_id, terms))
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(results, held, terms, stop, on_lost), name="lease", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        stop.set()
        renewing.join()
        with contextlib.suppress(OSError):  # without a release it expires
            lease.release(results, held.claim)


def _acquired(results: ResultsRoot, scope: str, run_id: str, terms: LeaseTerms) -> Claim:
    try:
        return lease.acquire(results, scope, run_id, dataclasses.replace(terms, wait_s=0.0))
    except BusyError:
        if not terms.wait_s:
            raise
    with announced(results, scope, run_id):
        return lease.acquire(results, scope, run_id, terms)


def _renew(
    results: ResultsRoot,
    held: HeldLease,
    terms: LeaseTerms,
    stop: threading.Event,
    on_lost: Callable[[LeaseLostError], None] | None,
) -> None:
    while not stop.wait(terms.ttl_s / lease.RENEWALS):
        try:
            held.claim = lease.renew(results, held.claim)
        except LeaseLostError as error:
            _log.error("%s", error)
            if on_lost is not None:
                on_lost(error)
            return
        except Exception as error:  # fsspec's back ends raise errors of many families
            _log.warning("the lease of run %s was not renewed: %s", held.claim.record.run_id, type(error).__name__)
