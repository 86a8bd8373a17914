"""Run a `ScoreJob` in a process group of its own that ends with the caller, whatever ends the caller."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Final

from cxr_pipelines.jobs.child_process import end, scoring_process
from cxr_pipelines.jobs.job import Message, Progress, ScoreJob
from cxr_schemas import Manifest
from cxrlib.errors import RunError, StoppedError

#: Seconds between two looks at whether a child is to be stopped.
_LOOK_S: Final = 0.2


def run_job(
    job: ScoreJob,
    on_progress: Callable[[Progress], None],
    stop: threading.Event | None = None,
    ahead: subprocess.Popen[str] | None = None,
) -> Manifest:
    """Score in a child process and return the manifest of the closed run.

    Parameters
    ----------
    job : ScoreJob
    on_progress : callable
        Called with each `Progress`, in the calling thread.
    stop : threading.Event, optional
        Ends the child when it is set, from any thread.
    ahead : subprocess.Popen, optional
        A `cxr_pipelines.jobs.child_process.scoring_process` that runs already and that the caller ends; else one is started and ended here.

    Raises
    ------
    StoppedError
        `stop` was set before the run closed.
    CxrError
        As the child raised it; or RunError where it ended without a word, saying by which signal.
    """
    with scoring_process() if ahead is None else nullcontext(ahead) as child, _stopped_by(stop, child):
        manifest = _converse(child, job, on_progress)
    if manifest is None and stop is not None and stop.is_set():
        raise StoppedError(f"run {job.run_id} was stopped; what it settled is kept")
    if manifest is None:
        raise RunError(_epitaph(child.returncode))
    return manifest


def _converse(child: subprocess.Popen[str], job: ScoreJob, on_progress: Callable[[Progress], None]) -> Manifest | None:
    if child.stdin is None or child.stdout is None:
        raise RunError("the scoring process was started without pipes")
    try:
        child.stdin.write(job.model_dump_json() + "\n")
        child.stdin.flush()
    except BrokenPipeError:  # it died before it listened; its exit code says more than the pipe does
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
def _stopped_by(stop: threading.Event | None, child: subprocess.Popen[str]) -> Iterator[None]:
    """End the child while the block waits for its words, should `stop` be set."""
    if stop is None:
        yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_S):
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


def _epitaph(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; SIGKILL often means that memory ran out" if name == "SIGKILL" else ""
        return f"the scoring process was ended by {name} before the run closed{hint}"
    return f"the scoring process ended with code {code} before the run closed; its log says why"
