"""Wait for a condition; find processes by id or by their environment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], *, seconds: float, poll_s: float = 0.2) -> None:
    """Wait until `condition` returns something true, checked every `poll_s` seconds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s"
        time.sleep(poll_s)


def exists(pid: int) -> bool:
    """Return whether a process exists, as a zombie too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_running(pid: int) -> bool:
    """Return whether a process exists and is no zombie. Linux only."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_with(variable: str, value: str, *, argument: str = "") -> list[int]:
    """Return the ids of the live processes in whose environment `variable` is `value`.

    If `argument` is given, it must also be on their command line. Linux only.
    """
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")  # empty for a zombie
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:  # the process ended meanwhile, or belongs to another user
            continue
        if f"{variable}={value}".encode() in environment and (not argument or argument.encode() in command):
            found.append(int(folder.name))
    return found
