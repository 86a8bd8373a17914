"""Run a `ScoreJob` in a process group of its own that ends with the caller, whatever ends the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from cxrlib.errors import BusyError, CxrError, RunError, UsageError
from flows.job import Failure, Message, Progress, ScoreJob
from schemas import Manifest

#: The child's side: our own module by our own interpreter.
COMMAND: Final[tuple[str, ...]] = (sys.executable, "-m", "flows.job")

#: Seconds a process group has to end by itself before it is killed.
GRACE_S: Final = 5.0


def run_job(job: ScoreJob, on_progress: Callable[[Progress], None]) -> Manifest:
    """Score in a child process and return the manifest of the closed run.

    Parameters
    ----------
    job : ScoreJob
    on_progress : callable
        Called with each `Progress`, in the calling thread.

    Raises
    ------
    UsageError, BusyError, RunError
        As the child did; or RunError where it ended without a word, saying by which signal.
    """
    child = subprocess.Popen(  # noqa: S603 - see COMMAND
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        encoding="utf-8",
    )
    try:
        manifest = _converse(child, job, on_progress)
    finally:
        _end_group(child)
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
            raise _error_of(message.failure)
        else:
            return message.manifest
    child.wait()
    return None


def _error_of(failure: Failure) -> CxrError:
    kinds: dict[int, type[CxrError]] = {kind.exit_code: kind for kind in (UsageError, BusyError)}
    return kinds.get(failure.exit_code, RunError)(failure.message)


def _epitaph(code: int) -> str:
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; SIGKILL often means that memory ran out" if name == "SIGKILL" else ""
        return f"the scoring process was ended by {name} before the run closed{hint}"
    return f"the scoring process ended with code {code} before the run closed; its log says why"


def _end_group(child: subprocess.Popen[str]) -> None:
    """End every process of the child's group, asking first; returns when the child is gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            pipe.close()
