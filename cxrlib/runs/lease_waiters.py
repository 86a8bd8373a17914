"""Who waits for a lease: a note beside it, so that who holds it for long may stand aside for a while.

A run that waits puts ``_leases/<scope>/waiting/<token>.json`` and removes it when it holds the lease or gives up. A
backfill, which may work for days, looks for such notes and lets the lease go, so that a nightly run has its turn. Notes
decide nothing: who holds the lease is decided by its chain alone (`cxrlib.runs.lease`).
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
from cxrlib.runs.process_identity import ProcessMark, is_alive, this_process


class Waiter(BaseModel):
    """One note: which run waits, where, and since when (for people; nothing is decided by it)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token: str
    run_id: str
    host: str
    process: ProcessMark
    since: datetime


@contextmanager
def announced(results: ResultsRoot, scope: str, run_id: str) -> Iterator[None]:
    """Say, while the block runs, that the run `run_id` waits for the lease of `scope`."""
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
        with contextlib.suppress(OSError):  # a note that stays costs its reader one look
            withdraw(results, scope, waiter.token)


def waiters(results: ResultsRoot, scope: str) -> list[Waiter]:
    """Return who waits for the lease of `scope`; notes of processes of this machine that are gone are removed."""
    found = []
    for name in sorted(results.names(layout.waiting_folder(scope))):
        data = results.get(f"{layout.waiting_folder(scope)}/{name}") if name.endswith(".json") else None
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
    """Remove a note, where it is there."""
    results.delete(layout.waiter_key(scope, token))
