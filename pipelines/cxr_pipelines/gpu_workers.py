"""Spread the workers of a run over the GPUs of each machine (device ``cuda:all``).

No scheduler assigns GPUs: each worker process claims one when it makes its engine, the GPU that the fewest others on
its machine have claimed. So it works the same for the local runner and on a cluster, and after a worker was lost.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final

from cxr_pipelines.runner_choice import RunnerChoice
from cxrlib.errors import UsageError
from cxrlib.models.inference.devices import cuda_memories, cuda_names

#: Spreads the workers over all GPUs.
ALL_GPUS: Final = "cuda:all"


def one_worker_per_gpu(choice: RunnerChoice, device: str) -> RunnerChoice:
    """Return the runner with a worker process for each GPU, if the device is ``cuda:all``.

    A number of workers that was chosen (``local:N``, N above 1) stays, and so does a cluster's runner.

    Raises
    ------
    UsageError
        The local runner has no GPU.
    """
    if device != ALL_GPUS or not choice.local:
        return choice
    gpus = len(cuda_memories())
    if not gpus:
        raise _no_gpu()
    return replace(choice, workers=gpus) if choice.workers == 1 else choice


def workers_per_gpu(choice: RunnerChoice, device: str) -> int:
    """Return how many worker processes of the local runner share a GPU; 1 on a cluster, where it is unknown."""
    if not choice.local or choice.workers == 1:
        return 1
    gpus = len(cuda_memories()) if device == ALL_GPUS else 1
    return math.ceil(choice.workers / max(1, gpus))


def device_of_worker(device: str) -> str:
    """Return the device of this process: for ``cuda:all`` the GPU that it claims, ``cuda:N``; else `device`.

    Raises
    ------
    UsageError
        This machine has no GPU.
    """
    return f"cuda:{_claimed_gpu()}" if device == ALL_GPUS else device


@cache
def _claimed_gpu() -> int:
    """Claim a GPU for the life of this process, once."""
    names = cuda_names()
    if not names:
        raise _no_gpu()
    folder = Path(tempfile.gettempdir()) / f"cxr-gpus-{os.getuid()}"
    return claim(names, folder)[0]


def claim(names: Sequence[str], folder: Path) -> tuple[int, int]:
    """Claim the first of the GPUs that the fewest processes have claimed.

    Parameters
    ----------
    names : sequence of str
        A name for each GPU that is the same in all processes of the machine.
    folder : Path
        Holds a locked file for each claim; made if missing.

    Returns
    -------
    tuple of int
        The number of the GPU, and the open file. The claim ends when the file is closed, at the latest with the
        process, however it ends.
    """
    import fcntl  # noqa: PLC0415 - Windows has none, and no cuda:all

    folder.mkdir(mode=0o700, exist_ok=True)
    for claims_before in count():
        for number, name in enumerate(names):
            file = os.open(folder / f"{name}-{claims_before}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
            else:
                return number, file
    raise AssertionError  # count() does not end


def _no_gpu() -> UsageError:
    return UsageError(f"device: {ALL_GPUS} expects a CUDA device and torch on each worker's machine; got none")
