"""The worker processes that read films for the process that runs the networks.

In a module of its own, which imports little: they are started before what scores their films is imported, which takes
that process seconds on one core.
"""

from __future__ import annotations

from typing import Final

from cxrlib.parallel.cores import cores
from cxrlib.parallel.work import Terms
from cxrlib.parallel.worker_pool import Workers, shared
from cxrlib.settings import RunSettings

#: Where their work, `ReadListed`, is defined.
_MODULE: Final = "cxrlib.scoring"


def reader_processes(run: RunSettings) -> Workers | None:
    """Return the worker processes of this process that read films under `run`, started, or None where threads do."""
    processes = cores() if run.decode_workers is None else run.decode_workers
    if not processes:
        return None
    workers = shared(Terms(processes, run.fetches, run.decode_memory_mb, run.film_timeout_s))
    workers.prepare(_MODULE)
    return workers
