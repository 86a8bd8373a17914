"""Notes of the runs that wait for a lease, so that a long-running holder can let them go first.

A run that waits puts ``_leases/<scope>/waiting/<token>.json`` and deletes it when it gets the lease or gives up. A
backfill, which may work for days, looks for such notes and releases the lease for a while, so that a nightly run gets
its turn. Notes decide nothing: the chain alone decides who holds the lease (`cxrlib.runs.lease`).
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.process_identity import ProcessIdentity, is_alive, this_process


class Waiter(BaseModel):
    """One note: which run waits, where, and since when (for people to read; no decision uses it)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    run_id: str
    host: str
    process: ProcessIdentity
    since: datetime


@contextmanager
def announced(results: ResultsRoot, scope: str, run_id: str) -> Iterator[None]:
    """Keep a note, while the block runs, that the run `run_id` waits for the lease of `scope`."""
    waiter = Waiter(
        token=secrets.token_hex(8),
        run_id=run_id,
        host=socket.gethostname(),
        process=this_process(),
        since=datetime.now(UTC),
    )
    results.put(layout.waiter_key(scope, waiter.token), waiter.model_dump_json(indent=2).encode())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a note that is left over makes a backfill pause once for nothing
            withdraw(results, scope, waiter.token)


def waiters(results: ResultsRoot, scope: str) -> list[Waiter]:
    """Return the runs that wait for the lease of `scope`. Notes of dead processes of this machine are deleted."""
    found = []
    for name in sorted(results.names(layout.waiting_folder(scope))):
        token = layout.waiter_token(name)
        data = None if token is None else results.get(layout.waiter_key(scope, token))
        if data is None:
            continue
        try:
            waiter = Waiter.model_validate_json(data)
        except ValidationError:  # it is still being written
            continue
        if is_alive(waiter.process) is False:
            withdraw(results, scope, waiter.token)
        else:
            found.append(waiter)
    return found


def withdraw(results: ResultsRoot, scope: str, token: str) -> None:
    """Delete a note, if it exists."""
    results.delete(layout.waiter_key(scope, token))
