"""The worker processes that read films for the process that runs the networks.

This module imports little: the worker processes start first, while their parent spends seconds on importing Beam and
torch.
"""

from __future__ import annotations

from typing import Final

from cxrlib.parallel.cores import cores
from cxrlib.parallel.worker_pool import WorkerPool, shared_pool
from cxrlib.parallel.worker_protocol import WorkerLimits
from cxrlib.settings import RunSettings

#: Module that defines the work of these processes, `FilmReader`.
_MODULE: Final = "cxrlib.film_steps"


def reader_processes(run: RunSettings) -> WorkerPool | None:
    """Return the started worker processes that read films under `run`; None if `run` asks for threads."""
    processes = cores() if run.decode_workers is None else run.decode_workers
    if not processes:
        return None
    pool = shared_pool(WorkerLimits(processes, run.fetches, run.decode_memory_mb, run.film_timeout_s))
    pool.prepare(_MODULE)
    return pool
