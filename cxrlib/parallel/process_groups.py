"""End a process together with all processes that it started."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import Any


def end_group(process: subprocess.Popen[Any], grace_s: float) -> None:
    """Send SIGTERM to the group that `process` leads, SIGKILL `grace_s` seconds later, and wait for its end."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            continue
    process.wait()
