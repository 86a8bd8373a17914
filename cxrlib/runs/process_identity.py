"""Whether a process that left its mark somewhere still runs, where this machine can tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

_PROC: Final = Path("/proc")
#: Fields of /proc/<pid>/stat behind the command's name (proc(5)): the state, and the start in ticks since the boot.
_STATE: Final = 0
_START: Final = 19


class ProcessMark(BaseModel):
    """Which process it is: no other ever has the same mark.

    Attributes
    ----------
    machine : str
        Id of this boot of this machine and of the process' pid namespace; empty where the system tells neither (it is
        told on Linux).
    pid : int
    started : int
        Clock ticks from the boot to the start of the process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    pid: int
    started: int


def this_process() -> ProcessMark:
    """Return the mark of the calling process."""
    stat = _stat(os.getpid())
    return ProcessMark(machine=_machine(), pid=os.getpid(), started=0 if stat is None else int(stat[_START]))


def is_alive(mark: ProcessMark) -> bool | None:
    """Return whether the process runs; None where it is another machine's, or the system does not tell.

    A process that was killed and not yet waited for by its parent does not run.
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
