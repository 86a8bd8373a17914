"""The number of cores that this process may use, and a setting that keeps BLAS from starting threads on all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Environment of a process that scores. numpy and scipy each load an OpenBLAS, which spends 0.1 s of every core to
#: start threads at import. Almost nothing here is computed with BLAS.
NO_BLAS_THREADS: Final[Mapping[str, str]] = {"OPENBLAS_NUM_THREADS": "1"}

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Return the number of cores that this process may use, at least 1.

    A container with a CPU quota still sees every core of the machine. The quota counts (cgroup v2, ``cpu.max``: quota
    and period in microseconds), rounded up.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, _quota(_QUOTA) or count))


def _quota(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):  # no cgroup v2, or the quota is "max"
        return None
