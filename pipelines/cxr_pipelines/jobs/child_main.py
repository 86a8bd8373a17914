"""The main program of the child process that scores one run: ``python -m cxr_pipelines.jobs.child_main``.

It reads a `ScoreJob` from stdin and writes `Message` lines to stdout. The parent keeps stdin open for as long as it
lives. When stdin closes, the child ends its whole process group: neither a cancel nor a ``kill -9`` of the parent
leaves workers behind.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import BinaryIO, Final, TextIO

from cxr_pipelines.gpu_workers import one_worker_per_gpu
from cxr_pipelines.jobs.messages import Failure, Message, Progress, ScoreJob
from cxr_pipelines.reader_processes import reader_processes
from cxr_pipelines.runner_choice import RunnerChoice
from cxrlib.errors import CxrError
from cxrlib.settings import Settings

#: Seconds to cancel the job on a cluster: shorter than the time the parent waits after SIGTERM.
_GRACE_S: Final = 4.0
#: Thresholds of the garbage collector (`gc.set_threshold`) for this process only. Importing Beam and torch creates a
#: million lasting objects. With the default thresholds (700, 10, 10) the imports take a sixth longer.
GC_THRESHOLDS: Final = (10_000, 20, 20)


class _Terminated(BaseException):
    """The process received SIGTERM."""


@contextmanager
def _exception_on_sigterm() -> Iterator[None]:
    """Turn SIGTERM into an exception inside the block, so that a job on a cluster is cancelled; then die of SIGTERM."""

    def terminate(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # a second SIGTERM ends the process at once
        raise _Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except _Terminated:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end_with_parent(stdin: BinaryIO, grace_s: float = 0.0) -> None:
    """Wait until the parent closes `stdin`, then kill the process group, with SIGTERM and `grace_s` seconds first."""
    stdin.read()
    if os.getpgrp() == os.getpid():
        if grace_s:
            os.killpg(os.getpgrp(), signal.SIGTERM)
            time.sleep(grace_s)
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def serve(stdin: BinaryIO, stdout: TextIO) -> None:
    """Run the job on the first line of `stdin`, if there is one, and write its messages to `stdout`."""
    line = stdin.readline()
    if not line:
        return  # the parent ended before it had a job
    job = ScoreJob.model_validate_json(line)
    if not job.debug:
        # Beam logs the traceback of every error that it raises; the parent prints the error on one line.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)

    write_lock = threading.Lock()

    def send(message: Message) -> None:
        with write_lock:
            stdout.write(message.model_dump_json(exclude_none=True) + "\n")
            stdout.flush()

    def fail(error: Exception) -> None:
        send(Message(failure=Failure.of(error)))

    try:
        choice = RunnerChoice.parse(job.runner, job.beam_options)
        # A job on a cluster must be cancelled; local workers die with this process.
        grace_s = 0.0 if choice.local else _GRACE_S
        threading.Thread(target=_end_with_parent, args=(stdin, grace_s), daemon=True).start()
        settings = Settings(**job.settings)
        choice = one_worker_per_gpu(choice, settings.run.device)
        if choice.here:
            reader_processes(settings.run)  # they start while this process imports Beam and torch
        from cxr_pipelines.score import score  # noqa: PLC0415 - takes seconds; the thread above must run before

        with nullcontext() if choice.local else _exception_on_sigterm():
            manifest = score(
                job.sources,
                job.out,
                settings,
                run_id=job.run_id,
                resume=job.resume,
                runner=choice,
                progress=lambda done, total: send(Message(progress=Progress(done=done, total=total))),
                held_lease=job.held_lease,
                on_lost=fail,  # the parent then ends this process group
            )
    except Exception as error:
        if job.debug and not isinstance(error, CxrError):
            traceback.print_exc()
        fail(error)
    else:
        send(Message(manifest=manifest))


if __name__ == "__main__":
    gc.set_threshold(*GC_THRESHOLDS)
    # Libraries print to stdout. Redirect that to stderr, and keep the real stdout for messages.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, channel)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a normal exit would wait for the thread that reads stdin
