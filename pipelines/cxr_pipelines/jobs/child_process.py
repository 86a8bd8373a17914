"""Start and end the child process that scores a run. `cxr_pipelines.jobs.run_job` exchanges messages with it.

This module imports little: a command starts the child first, so that the child imports Beam and torch while the
command still parses its options.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cxrlib.parallel.cores import NO_BLAS_THREADS
from cxrlib.parallel.malloc_settings import MALLOC_FOR_NETWORKS
from cxrlib.parallel.process_groups import end_group

#: Starts the child with this interpreter. With ``-P``, no module in the working directory replaces an installed one.
COMMAND: Final[tuple[str, ...]] = (sys.executable, "-P", "-m", "cxr_pipelines.jobs.child_main")

#: Seconds between SIGTERM and SIGKILL for a process group.
GRACE_S: Final = 5.0


@contextmanager
def scoring_process() -> Iterator[subprocess.Popen[str]]:
    """Start a child in a process group of its own that waits for a `ScoreJob`; end the group with the block."""
    child = subprocess.Popen(  # noqa: S603 - see COMMAND
        COMMAND,
        env={**NO_BLAS_THREADS, **MALLOC_FOR_NETWORKS, **os.environ},
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
    """End a child and all processes that it started."""
    end_group(child, GRACE_S)
