"""The lease of a results root: of the runs that could do the same work twice, one works at a time.

What is leased is a results root under one bundle and one configuration, since that is what the ledger is kept for: two
such runs that begin together would both plan the films that neither has settled yet. Runs under different bundles or
settings share no film's row and need not wait for one another.

A lease is a chain of small objects, ``_leases/<scope>/<epoch>.json``; whoever made the newest holds it, until it says
that it is released. The holder writes it anew every quarter of its time to live. **No two clocks are compared**:
whoever wants the lease watches the object, and takes it for abandoned when it has not changed for the time to live by
the watcher's own clock (or at once, where the holder was a process of this machine that is gone). So clocks may differ
by any amount; they must only run at the same speed. A holder that was taken for dead and was not finds the newer object
at its next renewal, and before it closes its run.

Who makes the next epoch is decided by the store where it can put an object on condition that there is none (local
disks, S3, Google Cloud Storage, Azure). Elsewhere each claimant puts an object of its own, waits a while, and looks at
all claims: one that stands as held has won, else the newest epoch, else the lowest name; who has lost removes its
claim. The winner says that it holds; where that took longer than half the wait since it looked, it steps back. So
whoever came too late to be seen by the winner sees the winner, however slow the store is. Both ways need a store that
lists what was put before, as those named do.
"""

from __future__ import annotations

import random
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlib.errors import BusyError, LeaseLostError
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.process_identity import ProcessMark, is_alive, this_process
from cxrlib.settings import RunSettings

#: A holder renews this often within its time to live.
RENEWALS: Final = 4
_POLL_S: Final = 5.0
_DIGITS: Final = 10


class LeaseState(StrEnum):
    """What an object of the chain says of itself."""

    CLAIMED = "claimed"
    HELD = "held"
    RELEASED = "released"


#: States of a claim that was not a mere claim.
_DECIDED: Final = (LeaseState.HELD, LeaseState.RELEASED)


class LeaseRecord(BaseModel):
    """One object of the chain. Its moments are for people: nothing is decided by them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: LeaseState
    token: str
    run_id: str
    host: str
    process: ProcessMark
    acquired_at: datetime
    renewed_at: datetime
    ttl_s: float


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How a lease is asked for.

    Attributes
    ----------
    ttl_s : float
        Seconds without a sign of life after which others may take a lease over.
    wait_s : float
        Seconds to wait for a holder that is alive; 0 leaves at once.
    settle_s : float
        Wait of a claimant on a store without conditional puts; twice the longest put and list that may succeed.
    """

    ttl_s: float
    wait_s: float = 0.0
    settle_s: float = 4.0

    @classmethod
    def of(cls, settings: RunSettings) -> LeaseTerms:
        """Return the terms that the settings name."""
        return cls(ttl_s=settings.lease_ttl_s, wait_s=settings.lease_wait_s)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time as a lease sees it; tests put their own in its place."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, slots=True)
class Held:
    """One claim: where it stands and what it says. It travels to the processes that work under their parent's lease."""

    scope: str
    name: str
    record: LeaseRecord

    @property
    def epoch(self) -> int:
        """Its place in the chain."""
        return _epoch(self.name)

    @property
    def key(self) -> str:
        """Key of its object in the results root."""
        return layout.lease_key(self.scope, self.name)


def scope_of(partition: str, config_digest: str) -> str:
    """Return what a lease is for: a bundle and a configuration, as a folder's name."""
    return f"{partition}-{config_digest[:8]}"


def acquire(results: ResultsRoot, scope: str, run_id: str, terms: LeaseTerms, clock: Clock | None = None) -> Held:
    """Take the lease of `scope` in `results` for the run `run_id`, waiting as `terms` say.

    Raises
    ------
    BusyError
        Another run holds it, and showed that it is alive.
    """
    clock = clock or Clock()
    deadline = clock.now() + terms.wait_s
    exclusive = results.can_create()
    watch = _Watch(clock, terms.ttl_s)
    while True:
        claims = standing(results, scope)
        blocking = [claim for claim in claims if not watch.abandoned(claim)]
        if not blocking:
            name = f"{1 + max((claim.epoch for claim in claims), default=0):0{_DIGITS}d}"
            record = _record(run_id, terms)
            if exclusive:
                held = _create(results, Held(scope, f"{name}.json", record))
            else:
                held = _contend(results, Held(scope, f"{name}-{record.token}.json", record), claims, terms, clock)
            if held is not None:
                return held
        elif clock.now() >= deadline and any(watch.alive(claim) for claim in blocking):
            raise BusyError(_busy(results, blocking[0].record, terms))
        # The random part keeps those that came at one moment from coming at one moment again.
        clock.sleep(min(_POLL_S, terms.ttl_s / (2 * RENEWALS)) * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def renew(results: ResultsRoot, held: Held) -> Held:
    """Show that the holder is alive, and return the claim as it stands now.

    Raises
    ------
    LeaseLostError
        Another took the lease over.
    """
    check(results, held)
    return _write(results, held, LeaseState.HELD)


def check(results: ResultsRoot, held: Held) -> None:
    """Raise `LeaseLostError` where another holds, or held, a newer epoch of the chain, or the claim was removed."""
    claims = _claims(results, held.scope)
    newer = [claim.record for claim in claims if claim.epoch > held.epoch and claim.record.state in _DECIDED]
    if not newer and any(claim.name == held.name for claim in claims):
        return
    taker = f"run {newer[-1].run_id} on {newer[-1].host}" if newer else "nobody: its lease was removed"
    raise LeaseLostError(
        f"run {held.record.run_id} lost the results root {results.root} to {taker}, having shown no sign of life for "
        f"{held.record.ttl_s:g} s; what it settled is kept: take it up again when the other has ended"
    )


def release(results: ResultsRoot, held: Held) -> None:
    """Give a lease back, so that the next need not wait; one that was lost already is let be."""
    if held.name in _names(results, held.scope):
        _write(results, held, LeaseState.RELEASED)


def standing(results: ResultsRoot, scope: str) -> list[Held]:
    """Return the newest claim that was ever held, and those that contend to follow it, oldest epoch first.

    A record that is still being written counts as a claim of somebody unknown.
    """
    claims = _claims(results, scope)
    decided = max((claim.epoch for claim in claims if claim.record.state in _DECIDED), default=0)
    return [claim for claim in claims if claim.epoch >= decided]


def scopes(results: ResultsRoot) -> tuple[str, ...]:
    """Return all that was ever leased in a results root, sorted."""
    return tuple(sorted(name for name in results.names(layout.LEASES) if not name.startswith(".")))


def is_held(claim: Held) -> bool:
    """Whether a stored claim says that it is held, and nothing known here says that its holder is gone."""
    return claim.record.state is not LeaseState.RELEASED and is_alive(claim.record.process) is not False


def holders(results: ResultsRoot, clock: Clock | None = None) -> list[LeaseRecord]:
    """Return the leases whose holders are alive, whichever they are for.

    Where this machine cannot tell, a lease is watched until it is renewed or its time to live has passed.
    """
    clock = clock or Clock()
    watches = {scope: _Watch(clock, 0.0) for scope in scopes(results)}
    alive: dict[str, LeaseRecord] = {}
    while True:
        waiting = 0.0
        for scope, watch in watches.items():
            for claim in standing(results, scope):
                if watch.abandoned(claim) or claim.key in alive:
                    continue
                if watch.alive(claim):
                    alive[claim.key] = claim.record
                else:
                    waiting = max(waiting, claim.record.ttl_s)
        if not waiting:
            return list(alive.values())
        clock.sleep(min(_POLL_S, waiting / RENEWALS))


@dataclass(slots=True)
class _Watch:
    """Since when each claim has looked as it does, by the clock of the one who watches."""

    clock: Clock
    ttl_s: float
    _seen: dict[str, tuple[LeaseRecord, float]] = field(default_factory=dict)
    _moved: set[str] = field(default_factory=set)

    def abandoned(self, claim: Held) -> bool:
        """Whether the claim is released, or its holder gave no sign of life for its whole time to live."""
        record, now = claim.record, self.clock.now()
        known = self._seen.get(claim.name)
        if known is None or known[0] != record:
            if known is not None:
                self._moved.add(claim.name)
            self._seen[claim.name] = (record, now)
        if record.state is LeaseState.RELEASED or is_alive(record.process) is False:
            return True
        return now - self._seen[claim.name][1] > max(record.ttl_s, self.ttl_s)

    def alive(self, claim: Held) -> bool:
        """Whether the holder was seen to be alive: it renewed meanwhile, or runs on this machine."""
        return claim.name in self._moved or is_alive(claim.record.process) is True


def _create(results: ResultsRoot, mine: Held) -> Held | None:
    """Claim an epoch on a store that lets one claimant alone make its object."""
    mine = Held(mine.scope, mine.name, mine.record.model_copy(update={"state": LeaseState.HELD}))
    if not results.create(mine.key, _encoded(mine.record)):
        return None
    if max(map(_epoch, _names(results, mine.scope)), default=0) > mine.epoch:
        results.delete(mine.key)  # the view that it was claimed by was out of date, and its object swept since
        return None
    return _swept(results, mine)


def _contend(results: ResultsRoot, mine: Held, before: Sequence[Held], terms: LeaseTerms, clock: Clock) -> Held | None:
    """Claim an epoch beside others, wait, and see who has it; `before` are claims that were seen to be abandoned."""
    results.put(mine.key, _encoded(mine.record))
    clock.sleep(terms.settle_s)
    looked = clock.now()
    if _has_won(mine, [claim for claim in standing(results, mine.scope) if claim not in before]):
        held = _write(results, mine, LeaseState.HELD)
        if clock.now() - looked <= terms.settle_s / 2:
            return _swept(results, held)
    results.delete(mine.key)
    return None


def _has_won(mine: Held, claims: Sequence[Held]) -> bool:
    rivals = [claim for claim in claims if claim.record.state is not LeaseState.RELEASED]
    if any(rival.record.state is LeaseState.HELD for rival in rivals):
        return False
    return mine == min(rivals, key=lambda claim: (-claim.epoch, claim.name), default=None)


def _swept(results: ResultsRoot, held: Held) -> Held:
    """Remove the older epochs."""
    for name in _names(results, held.scope):
        if _epoch(name) < held.epoch:
            results.delete(layout.lease_key(held.scope, name))
    return held


def _claims(results: ResultsRoot, scope: str) -> list[Held]:
    read = ((name, results.get(layout.lease_key(scope, name))) for name in _names(results, scope))
    return [Held(scope, name, _parsed(data)) for name, data in read if data is not None]


def _write(results: ResultsRoot, held: Held, state: LeaseState) -> Held:
    record = held.record.model_copy(update={"state": state, "renewed_at": datetime.now(UTC)})
    results.put(held.key, _encoded(record))
    return Held(held.scope, held.name, record)


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


def _encoded(record: LeaseRecord) -> bytes:
    return record.model_dump_json(indent=2).encode()


def _parsed(data: bytes) -> LeaseRecord:
    try:
        return LeaseRecord.model_validate_json(data)
    except ValidationError:
        nobody = ProcessMark(machine="", pid=0, started=0)
        then = datetime.fromtimestamp(0, UTC)
        return LeaseRecord(
            state=LeaseState.CLAIMED,
            token="",
            run_id="unknown",
            host="an unknown host",
            process=nobody,
            acquired_at=then,
            renewed_at=then,
            ttl_s=0.0,
        )


def _names(results: ResultsRoot, scope: str) -> list[str]:
    names = results.names(layout.lease_folder(scope))
    return sorted(name for name in names if name.endswith(".json") and name[:_DIGITS].isdigit())


def _epoch(name: str) -> int:
    return int(name[:_DIGITS])


def _busy(results: ResultsRoot, record: LeaseRecord, terms: LeaseTerms) -> str:
    waited = f" after {terms.wait_s:g} s of waiting" if terms.wait_s else ""
    return (
        f"{results.root} is being written by run {record.run_id} on {record.host}, process {record.process.pid}, since "
        f"{record.acquired_at:%Y-%m-%d %H:%M:%S} UTC{waited}, under the same bundle and settings; nothing was done: "
        "run again when it has ended, or wait for it (--wait SECONDS)"
    )
