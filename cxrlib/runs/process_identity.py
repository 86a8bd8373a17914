"""Identify a process, and detect whether it still runs, as far as this machine can know."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

_PROC: Final = Path("/proc")
#: Fields of /proc/<pid>/stat after the command's name (proc(5)): state, and start in clock ticks since boot.
_STATE: Final = 0
_START: Final = 19


class ProcessIdentity(BaseModel):
    """Identity of a process: no other process ever has the same.

    Attributes
    ----------
    machine : str
        Id of this boot of this machine and of the process' pid namespace (on Linux); empty on other systems.
    pid : int
    started : int
        Clock ticks from boot to the start of the process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    pid: int
    started: int


def this_process() -> ProcessIdentity:
    """Return the identity of the calling process."""
    stat = _stat(os.getpid())
    return ProcessIdentity(machine=_machine(), pid=os.getpid(), started=0 if stat is None else int(stat[_START]))


def is_alive(mark: ProcessIdentity) -> bool | None:
    """Return whether a process runs; None where it is on another machine or the system cannot tell.

    A process that was killed but not yet reaped by its parent (a zombie) does not run.
    """
    if not mark.machine or mark.machine != _machine():
        return None
    stat = _stat(mark.pid)
    return stat is not None and stat[_STATE] not in ("Z", "X") and int(stat[_START]) == mark.started


def _machine() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {(_PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    try:
        return (_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None
