"""Holding a lease for as long as a block of work lasts: it is renewed in a thread and given back at the end.

Who waits for it leaves a note of that, so that a backfill which holds it may stand aside (`cxrlib.runs.lease_waiters`).
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
from cxrlib.runs.lease import Held, LeaseTerms
from cxrlib.runs.lease_waiters import announced

_log = logging.getLogger(__name__)


class Holding:
    """A lease that is held; `check` asks the store whether it still is.

    Parameters
    ----------
    results : ResultsRoot
    held : Held
    """

    def __init__(self, results: ResultsRoot, held: Held) -> None:
        self._store = results
        self.held = held

    def check(self) -> None:
        """Raise `LeaseLostError` where another took the lease over."""
        lease.check(self._store, self.held)


@contextmanager
def holding(
    results: ResultsRoot,
    scope: str,
    run_id: str,
    terms: LeaseTerms,
    *,
    on_lost: Callable[[LeaseLostError], None] | None = None,
) -> Iterator[Holding]:
    """Hold the lease of `scope` while the block runs.

    A store that does not answer is no reason to stop: as long as nobody took the lease over, it is held. Where somebody
    did, `on_lost` is called, from the renewing thread, once.

    Raises
    ------
    BusyError
        Another run holds it.
    """
    holder = Holding(results, _acquired(results, scope, run_id, terms))
    stop = threading.Event()
    renewing = threading.Thread(target=_renew, args=(results, holder, terms, stop, on_lost), name="lease", daemon=True)
    renewing.start()
    try:
        yield holder
    finally:
        stop.set()
        renewing.join()
        with contextlib.suppress(OSError):  # it runs out by itself
            lease.release(results, holder.held)


def _acquired(results: ResultsRoot, scope: str, run_id: str, terms: LeaseTerms) -> Held:
    try:
        return lease.acquire(results, scope, run_id, dataclasses.replace(terms, wait_s=0.0))
    except BusyError:
        if not terms.wait_s:
            raise
    with announced(results, scope, run_id):
        return lease.acquire(results, scope, run_id, terms)


def _renew(
    results: ResultsRoot,
    holder: Holding,
    terms: LeaseTerms,
    stop: threading.Event,
    on_lost: Callable[[LeaseLostError], None] | None,
) -> None:
    while not stop.wait(terms.ttl_s / lease.RENEWALS):
        try:
            holder.held = lease.renew(results, holder.held)
        except LeaseLostError as error:
            _log.error("%s", error)
            if on_lost is not None:
                on_lost(error)
            return
        except Exception as error:  # fsspec's back ends raise errors of many families
            _log.warning("the lease of run %s was not renewed: %s", holder.held.record.run_id, type(error).__name__)
