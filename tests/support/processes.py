"""Wait for a condition, and find processes by their environment."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_until(condition: Callable[[], object], *, seconds: float, poll_s: float = 0.2) -> None:
    """Wait until `condition` returns something true, checked every `poll_s` seconds; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"the condition did not hold within {seconds} s"
        time.sleep(poll_s)


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
