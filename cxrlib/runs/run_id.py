"""Ids of runs, which are also names of folders."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Final

from cxrlib.errors import UsageError

_RUN_ID: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}"


def new_run_id() -> str:
    """Return a run id that sorts by time: ``20260801T213000Z-1f3a9c``."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def check_run_id(run_id: str) -> None:
    """Raise `UsageError` where `run_id` cannot name a folder."""
    if not re.fullmatch(_RUN_ID, run_id):
        raise UsageError(f"expected a run id of letters, digits, - and _, at most 80; got {run_id!r}")
