"""How many cores this process may use, and what is told to a library that would use them all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: For the environment of a process that scores: numpy and scipy bring an OpenBLAS each, which spends a tenth of a
#: second of every core as it is loaded, to start threads by which next to nothing is computed here.
NO_BLAS_THREADS: Final[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1"}

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return the cores that this process may run on, at least one.

    A container is often given a share of the processor's time and sees every core all the same; the share counts
    (cgroup v2, ``cpu.max``: quota and period in microseconds), rounded up.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota(_QUOTA) or count))


def _quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return None
