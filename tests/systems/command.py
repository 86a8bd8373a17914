"""Run ``cxr`` as a user does: to its end, or until it is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_flows.cli.exit_codes import Exit
from tests.support.paths import REAL_FILMS as DATA

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"needs the real films in {DATA.parent.name}/{DATA.name}")

#: Time limit of one command in seconds; on an idle machine it takes minutes.
TIMEOUT = 3600


def cxr(*arguments: str, cwd: Path) -> str:
    """Run a command, check that it exits with `Exit.SETTLED`, and return its output."""
    done = subprocess.run(_command(*arguments), capture_output=True, text=True, check=False, cwd=cwd, timeout=TIMEOUT)
    assert done.returncode == Exit.SETTLED, done.stderr
    return done.stdout


def cxr_killed(*arguments: str, cwd: Path, when: Callable[[], bool]) -> None:
    """Start a command and kill it (SIGKILL) as soon as `when` is true; fail if it ends before."""
    process = subprocess.Popen(_command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd)
    ends = time.monotonic() + TIMEOUT
    try:
        while not when():
            assert process.poll() is None, f"the command ended with {process.returncode} before it could be killed"
            assert time.monotonic() < ends, f"the command was not ready to be killed within {TIMEOUT} s"
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cxr_flows.cli.main", *arguments]
