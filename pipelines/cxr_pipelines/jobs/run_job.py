"""Run a `ScoreJob` in a child process group that ends with the caller, however the caller ends."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from cxr_pipelines.jobs.child_process import end, scoring_process
from cxr_pipelines.jobs.messages import Message, Progress, ScoreJob
from cxr_schemas import RunManifest
from cxrlib.errors import RunError, StoppedError

#: Seconds between two checks of the stop event.
_CHECK_S: Final = 0.2


def run_job(
    job: ScoreJob,
    on_progress: Callable[[Progress], None],
    stop: threading.Event | None = None,
    child: subprocess.Popen[str] | None = None,
) -> RunManifest:
    """Score in a child process and return the manifest of the closed run.

    Parameters
    ----------
    job : ScoreJob
    on_progress : callable
        Called with each `Progress`, in the calling thread.
    stop : threading.Event, optional
        When any thread sets it, the child is ended.
    child : subprocess.Popen, optional
        A running `cxr_pipelines.jobs.child_process.scoring_process`, which the caller ends. By default one is started
        and ended here.

    Raises
    ------
    StoppedError
        `stop` was set before the run closed.
    CxrError
        The error that the child raised; `RunError`, naming the signal or exit code, if the child ended without one.
    """
    with scoring_process() if child is None else nullcontext(child) as process, _end_when_set(stop, process):
        manifest = _exchange(process, job, on_progress)
    if manifest is None and stop is not None and stop.is_set():
        raise StoppedError(f"run {job.run_id} was stopped; what it settled is kept")
    if manifest is None:
        raise RunError(_how_it_ended(process.returncode))
    return manifest


def _exchange(
    child: subprocess.Popen[str], job: ScoreJob, on_progress: Callable[[Progress], None]
) -> RunManifest | None:
    """Send the job and read messages until the manifest; return None if the child ended without one."""
    if child.stdin is None or child.stdout is None:
        raise RunError("expected a scoring process with pipes for stdin and stdout; got one without")
    try:
        child.stdin.write(job.model_dump_json() + "\n")
        child.stdin.flush()
    except BrokenPipeError:  # the child died early; its exit code says more than the broken pipe
        child.wait()
        return None
    for line in child.stdout:
        message = Message.model_validate_json(line)
        if message.progress is not None:
            on_progress(message.progress)
        elif message.failure is not None:
            raise message.failure.error
        else:
            return message.manifest
    child.wait()
    return None


@contextmanager
def _end_when_set(stop: threading.Event | None, child: subprocess.Popen[str]) -> Iterator[None]:
    """End the child if `stop` is set while the block runs."""
    if stop is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_CHECK_S):
            if stop.is_set():
                end(child)
                return

    watcher = threading.Thread(target=watch, name="stop", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _how_it_ended(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; SIGKILL often means that memory ran out" if name == "SIGKILL" else ""
        return f"the scoring process was ended by {name} before the run closed{hint}"
    return f"the scoring process ended with code {code} before the run closed; its log says why"
