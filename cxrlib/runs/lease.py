"""The lease of a results root: of the runs that could score the same films twice, one works at a time.

**Scope.** A lease covers a results root under one bundle and one configuration, as the ledger does. Two such runs that
start together would both plan the films that neither has settled. Runs under different bundles or settings never write
the same film's row, so they do not wait for each other.

**Holding.** A lease is a chain of small objects (`cxrlib.runs.lease_chain`). The run that made the newest one holds the
lease until it releases it. It rewrites the object four times within its time to live.

**Taking over.** No two clocks are compared. A run that wants the lease watches the object. It takes the holder for dead
when the object has not changed for the time to live, by the watcher's own clock. If the holder was a process of this
machine and is gone, it does so at once. So clocks may differ by any amount; they must only run at the same speed. A
holder that was wrongly taken for dead notices at its next renewal that it lost the lease, at the latest before it
closes its run.

**Who gets the next epoch.** On stores with conditional puts (local disks, S3, Google Cloud Storage, Azure) the store
decides: only one put succeeds. On other stores:

1. Each claimant puts an object of its own, waits, and reads all claims.
2. A claim that is held has won. Else the newest epoch wins, and of equal epochs the lowest name. Losers delete theirs.
3. The winner marks its claim as held. If that took longer than half the wait, it gives up the claim.

A claimant that came too late for the winner to see will itself see the winner's held claim, and give up. This is safe
however slow the store is. Both ways need a store that lists objects right after they were put, as those named do.
"""

from __future__ import annotations

import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from cxrlib.errors import BusyError, LeaseLostError
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.lease_chain import (
    Claim,
    LeaseRecord,
    LeaseState,
    claim_name,
    claim_names,
    current_claims,
    delete_older,
    encoded,
    epoch_of,
    read_claims,
    scopes,
    write_claim,
)
from cxrlib.runs.process_identity import is_alive, this_process
from cxrlib.settings import RunSettings

#: A holder renews its lease this often within its time to live.
RENEWALS: Final = 4
_POLL_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """Times of a lease.

    Attributes
    ----------
    ttl_s : float
        Time to live: seconds without a renewal after which others may take the lease over.
    wait_s : float
        Seconds to wait for a holder that is alive; 0 fails at once.
    settle_s : float
        Seconds that a claimant waits on a store without conditional puts: twice the longest put and list that may
        succeed.
    """

    ttl_s: float
    wait_s: float = 0.0
    settle_s: float = 4.0

    @classmethod
    def of(cls, settings: RunSettings) -> LeaseTerms:
        """Return the terms in the settings."""
        return cls(ttl_s=settings.lease_ttl_s, wait_s=settings.lease_wait_s)


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock of a process; tests replace it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def acquire(results: ResultsRoot, scope: str, run_id: str, terms: LeaseTerms, clock: Clock | None = None) -> Claim:
    """Take the lease of `scope` for the run `run_id`; wait for another holder as long as `terms` allow.

    Raises
    ------
    BusyError
        Another run holds the lease and is alive.
    """
    clock = clock or Clock()
    deadline = clock.now() + terms.wait_s
    exclusive = results.can_create()
    watch = _Watch(clock, terms.ttl_s)
    while True:
        claims = current_claims(results, scope)
        blocking = [claim for claim in claims if not watch.abandoned(claim)]
        if not blocking:
            epoch = 1 + max((claim.epoch for claim in claims), default=0)
            record = _record(run_id, terms)
            if exclusive:
                mine = _create(results, Claim(scope, claim_name(epoch), record))
            else:
                mine = _contend(results, Claim(scope, claim_name(epoch, record.token), record), claims, terms, clock)
            if mine is not None:
                return mine
        elif clock.now() >= deadline and any(watch.alive(claim) for claim in blocking):
            raise BusyError(_busy(results, blocking[0].record, terms))
        # Random, so that runs that started at the same moment do not poll at the same moments.
        clock.sleep(min(_POLL_S, terms.ttl_s / (2 * RENEWALS)) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def renew(results: ResultsRoot, claim: Claim) -> Claim:
    """Renew a lease that is held; return its claim as it is stored now.

    Raises
    ------
    LeaseLostError
        Another run took the lease over.
    """
    check(results, claim)
    return write_claim(results, claim, LeaseState.HELD)


def check(results: ResultsRoot, claim: Claim) -> None:
    """Raise `LeaseLostError` where a newer epoch is or was held, or the claim was deleted."""
    claims = read_claims(results, claim.scope)
    newer = [other.record for other in claims if other.epoch > claim.epoch and other.decided]
    if not newer and any(other.name == claim.name for other in claims):
        return
    taker = f"run {newer[-1].run_id} on {newer[-1].host}" if newer else "nobody: its lease was removed"
    raise LeaseLostError(
        f"run {claim.record.run_id} lost the results root {results.root} to {taker}: it did not renew its lease for "
        f"{claim.record.ttl_s:g} s. Settled films are kept; resume the run when the other has ended"
    )


def release(results: ResultsRoot, claim: Claim) -> None:
    """Release a lease, so that the next run need not wait. Do nothing where the lease was lost."""
    if claim.name in claim_names(results, claim.scope):
        write_claim(results, claim, LeaseState.RELEASED)


def holders(results: ResultsRoot, clock: Clock | None = None) -> list[LeaseRecord]:
    """Return the leases of all scopes whose holders are alive.

    A holder on another machine is watched until it renews its lease or its time to live has passed.
    """
    clock = clock or Clock()
    watches = {scope: _Watch(clock, 0.0) for scope in scopes(results)}
    alive: dict[str, LeaseRecord] = {}
    while True:
        longest_ttl_s = 0.0
        for scope, watch in watches.items():
            for claim in current_claims(results, scope):
                if watch.abandoned(claim) or claim.key in alive:
                    continue
                if watch.alive(claim):
                    alive[claim.key] = claim.record
                else:
                    longest_ttl_s = max(longest_ttl_s, claim.record.ttl_s)
        if not longest_ttl_s:
            return list(alive.values())
        clock.sleep(min(_POLL_S, longest_ttl_s / RENEWALS))


@dataclass(slots=True)
class _Watch:
    """What a watcher has seen of each claim, and since when by its own clock."""

    clock: Clock
    ttl_s: float
    _seen: dict[str, tuple[LeaseRecord, float]] = field(default_factory=dict)
    _renewed: set[str] = field(default_factory=set)

    def abandoned(self, claim: Claim) -> bool:
        """Return whether the claim is released, its process is gone, or it was not renewed within its time to live."""
        record, now = claim.record, self.clock.now()
        known = self._seen.get(claim.name)
        if known is None or known[0] != record:
            if known is not None:
                self._renewed.add(claim.name)
            self._seen[claim.name] = (record, now)
        if record.state is LeaseState.RELEASED or is_alive(record.process) is False:
            return True
        return now - self._seen[claim.name][1] > max(record.ttl_s, self.ttl_s)

    def alive(self, claim: Claim) -> bool:
        """Return whether the holder is known to be alive: it renewed while we watched, or runs on this machine."""
        return claim.name in self._renewed or is_alive(claim.record.process) is True


def _create(results: ResultsRoot, mine: Claim) -> Claim | None:
    """Claim an epoch on a store where only one put of an object succeeds; return None where another run won."""
    mine = Claim(mine.scope, mine.name, mine.record.model_copy(update={"state": LeaseState.HELD}))
    if not results.create(mine.key, encoded(mine.record)):
        return None
    if max(map(epoch_of, claim_names(results, mine.scope)), default=0) > mine.epoch:
        results.delete(mine.key)  # our view of the chain was stale: the epoch was used and its object deleted since
        return None
    delete_older(results, mine)
    return mine


def _contend(
    results: ResultsRoot, mine: Claim, abandoned: Sequence[Claim], terms: LeaseTerms, clock: Clock
) -> Claim | None:
    """Claim an epoch on a store without conditional puts; return None where another run won."""
    results.put(mine.key, encoded(mine.record))
    clock.sleep(terms.settle_s)
    looked = clock.now()
    if _has_won(mine, [claim for claim in current_claims(results, mine.scope) if claim not in abandoned]):
        held = write_claim(results, mine, LeaseState.HELD)
        if clock.now() - looked <= terms.settle_s / 2:
            delete_older(results, held)
            return held
    results.delete(mine.key)
    return None


def _has_won(mine: Claim, claims: Sequence[Claim]) -> bool:
    rivals = [claim for claim in claims if claim.record.state is not LeaseState.RELEASED]
    if any(rival.record.state is LeaseState.HELD for rival in rivals):
        return False
    return mine == min(rivals, key=lambda claim: (-claim.epoch, claim.name), default=None)


def _record(run_id: str, terms: LeaseTerms) -> LeaseRecord:
    now = datetime.now(UTC)
    return LeaseRecord(
        state=LeaseState.CLAIMED,
        token=secrets.token_hex(8),
        run_id=run_id,
        host=socket.gethostname(),
        process=this_process(),
        acquired_at=now,
        renewed_at=now,
        ttl_s=terms.ttl_s,
    )


def _busy(results: ResultsRoot, record: LeaseRecord, terms: LeaseTerms) -> str:
    waited = f" after {terms.wait_s:g} s of waiting" if terms.wait_s else ""
    return (
        f"{results.root} is being written by run {record.run_id} on {record.host}, process {record.process.pid}, since "
        f"{record.acquired_at:%Y-%m-%d %H:%M:%S} UTC{waited}, under the same bundle and settings; nothing was done: "
        "run again when it has ended, or wait for it (--wait SECONDS)"
    )
