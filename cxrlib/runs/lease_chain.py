"""The stored form of a lease: a chain of small objects, ``_leases/<scope>/<epoch>.json``.

Each object is a *claim* of one run. The claim of the newest epoch that was ever held is the lease, until its record
says that it is released. `cxrlib.runs.lease` is the protocol by which claims are made.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.process_identity import ProcessIdentity, is_alive

_DIGITS: Final = 10
_SUFFIX: Final = ".json"


class LeaseState(StrEnum):
    """State of a claim, as its record has it."""

    CLAIMED = "claimed"
    HELD = "held"
    RELEASED = "released"


#: States of a claim that is or was the lease, and not only a candidate.
_DECIDED: Final = (LeaseState.HELD, LeaseState.RELEASED)


class LeaseRecord(BaseModel):
    """Content of one object of the chain. Its times are for people to read; no decision uses them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: LeaseState
    token: str
    run_id: str
    host: str
    process: ProcessIdentity
    acquired_at: datetime
    renewed_at: datetime
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Claim:
    """One object of a chain: its scope, name and record. A claim is sent to processes that work under its lease."""

    scope: str
    name: str
    record: LeaseRecord

    @property
    def epoch(self) -> int:
        """Its number in the chain."""
        return epoch_of(self.name)

    @property
    def key(self) -> str:
        """Key of its object in the results root."""
        return layout.lease_key(self.scope, self.name)

    @property
    def decided(self) -> bool:
        """Whether it is or was the lease."""
        return self.record.state in _DECIDED


def scope_of(partition: str, config_digest: str) -> str:
    """Return the scope of a lease, a bundle and a configuration, as the name of a folder."""
    return f"{partition}-{config_digest[:8]}"


def scopes(results: ResultsRoot) -> tuple[str, ...]:
    """Return all scopes of a results root that ever had a lease, sorted."""
    return tuple(sorted(name for name in results.names(layout.LEASES) if not name.startswith(".")))


def current_claims(results: ResultsRoot, scope: str) -> list[Claim]:
    """Return the newest claim that was ever held and the candidates to follow it, the oldest epoch first.

    A record that is still being written counts as a candidate's.
    """
    claims = read_claims(results, scope)
    decided = max((claim.epoch for claim in claims if claim.decided), default=0)
    return [claim for claim in claims if claim.epoch >= decided]


def is_held(claim: Claim) -> bool:
    """Return whether a stored claim is not released and its holder is not known to be dead."""
    return claim.record.state is not LeaseState.RELEASED and is_alive(claim.record.process) is not False


def read_claims(results: ResultsRoot, scope: str) -> list[Claim]:
    """Return all claims of a scope, the oldest epoch first."""
    read = ((name, results.get(layout.lease_key(scope, name))) for name in claim_names(results, scope))
    return [Claim(scope, name, _parsed(data)) for name, data in read if data is not None]


def write_claim(results: ResultsRoot, claim: Claim, state: LeaseState) -> Claim:
    """Store a claim with a new state and the current time; return it as stored."""
    record = claim.record.model_copy(update={"state": state, "renewed_at": datetime.now(UTC)})
    written = Claim(claim.scope, claim.name, record)
    results.put(written.key, encoded(record))
    return written


def delete_older(results: ResultsRoot, claim: Claim) -> None:
    """Delete the claims of older epochs."""
    for name in claim_names(results, claim.scope):
        if epoch_of(name) < claim.epoch:
            results.delete(layout.lease_key(claim.scope, name))


def claim_name(epoch: int, token: str | None = None) -> str:
    """Return the name of a claim; with a token, where several runs may claim one epoch at the same time."""
    return f"{epoch:0{_DIGITS}d}{'' if token is None else f'-{token}'}{_SUFFIX}"


def claim_names(results: ResultsRoot, scope: str) -> list[str]:
    """Return the names of all claims of a scope, sorted."""
    names = results.names(layout.lease_folder(scope))
    return sorted(name for name in names if name.endswith(_SUFFIX) and name[:_DIGITS].isdigit())


def epoch_of(name: str) -> int:
    """Return the epoch in the name of a claim."""
    return int(name[:_DIGITS])


def encoded(record: LeaseRecord) -> bytes:
    """Return a record as it is stored."""
    return record.model_dump_json(indent=2).encode()


def _parsed(data: bytes) -> LeaseRecord:
    try:
        return LeaseRecord.model_validate_json(data)
    except ValidationError:  # it is still being written
        never = datetime.fromtimestamp(0, UTC)
        return LeaseRecord(
            state=LeaseState.CLAIMED,
            token="",
            run_id="unknown",
            host="an unknown host",
            process=ProcessIdentity(machine="", pid=0, started=0),
            acquired_at=never,
            renewed_at=never,
            ttl_s=0.0,
        )
