"""The process that scores a run, from its start to its end; what is said to it is told in `cxr_pipelines.jobs.run_job`.

In a module of its own, which imports little: a command starts the process first of all, so that what that imports is
imported while the command still makes out what is asked of it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cxrlib.parallel.cores import NO_BLAS_THREADS
from cxrlib.parallel.malloc_settings import KEPT_FOR_NETWORKS
from cxrlib.parallel.process_groups import end_group

#: The child's side: our own module by our own interpreter.
COMMAND: Final[tuple[str, ...]] = (sys.executable, "-m", "cxr_pipelines.jobs.job")

#: Seconds a process group has to end by itself before it is killed.
GRACE_S: Final = 5.0


@contextmanager
def scoring_process() -> Iterator[subprocess.Popen[str]]:
    """Start a process that waits for a `cxr_pipelines.jobs.job.ScoreJob`, in a group of its own, which ends with the block."""
    child = subprocess.Popen(  # noqa: S603 - see COMMAND
        COMMAND,
        env={**NO_BLAS_THREADS, **KEPT_FOR_NETWORKS, **os.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        encoding="utf-8",
    )
    try:
        yield child
    finally:
        end(child)
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()


def end(child: subprocess.Popen[str]) -> None:
    """End a child and all that it started."""
    end_group(child, GRACE_S)
