"""One scoring run in a process of its own: what is asked of it, and the child's side of the conversation.

``python -m cxr_pipelines.jobs.job`` reads a `ScoreJob` as one line of JSON from stdin and answers with `Message` lines on stdout:
progress as it comes, then the manifest or a failure. Stdin stays open for as long as the parent lives: when it closes,
the child ends its whole process group, so that neither a cancel nor a ``kill -9`` of the parent leaves workers behind.
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
from typing import Any, BinaryIO, Final, TextIO

from pydantic import BaseModel, ConfigDict

from cxr_pipelines.reader_processes import reader_processes
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_schemas import Manifest
from cxrlib import errors
from cxrlib.errors import CxrError, RunError
from cxrlib.runs.lease import Held
from cxrlib.settings import Settings

#: Seconds to tell a cluster that its job is to end: less than the parent waits after SIGTERM.
_GRACE_S: Final = 4.0
#: When Python looks for garbage (`gc.set_threshold`), of this process alone. Importing Beam and torch makes a million
#: objects that stay, and takes a sixth longer where they are looked through as often as is usual (700, 10, 10).
COLLECTED: Final = (10_000, 20, 20)


class ScoreJob(BaseModel):
    """What is to be scored, by what and where to.

    `settings` is `Settings` without its secret key, which is never put into a message or a command line: the child
    finds it where the parent did, in the environment or in the key file. `under` is a lease that the parent holds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...]
    out: str
    settings: dict[str, Any]
    run_id: str
    resume: bool = False
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    debug: bool = False
    under: Held | None = None

    @classmethod
    def of(cls, settings: Settings, **rest: Any) -> ScoreJob:
        """Return a job under `settings`; `rest` are the other fields."""
        return cls(settings=settings.model_dump(mode="json", exclude={"privacy": {"key"}}), **rest)


class Progress(BaseModel):
    """How many of the run's films are done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: int
    total: int


class Failure(BaseModel):
    """Why a run stopped: the name of the error's class, and what it said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    message: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """Return what is told of `error`; one that is not of this product tells its class in its message, too."""
        if isinstance(error, CxrError):
            return cls(kind=type(error).__name__, message=str(error))
        return cls(kind=RunError.__name__, message=errors.safe_message(error))

    @property
    def error(self) -> CxrError:
        """The error, as it was raised in the child; a `RunError` where it is of one film."""
        kind = getattr(errors, self.kind, RunError)
        if kind is errors.FilmError or not issubclass(kind, CxrError):
            kind = RunError
        error: CxrError = kind(self.message)
        return error


class Message(BaseModel):
    """One line from the child; exactly one of its parts is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    progress: Progress | None = None
    manifest: Manifest | None = None
    failure: Failure | None = None


class _ToldToEnd(BaseException):
    """Somebody sent SIGTERM."""


@contextmanager
def _ending_orderly() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does, so that a job on a cluster is ended with it; then die of it."""

    def told(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)  # the second one is not waited for
        raise _ToldToEnd

    signal.signal(signal.SIGTERM, told)
    try:
        yield
    except _ToldToEnd:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _die_with(parent: BinaryIO, grace_s: float = 0.0) -> None:
    """Wait until the parent's end of stdin closes, then end the process group: at once, or asked first."""
    parent.read()
    if os.getpgrp() == os.getpid():
        if grace_s:
            os.killpg(os.getpgrp(), signal.SIGTERM)
            time.sleep(grace_s)
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def serve(request: BinaryIO, answer: TextIO) -> None:
    """Run the job that stands on the first line of `request`, if any, and write what becomes of it to `answer`."""
    line = request.readline()
    if not line:
        return  # whoever started this process had nothing for it
    job = ScoreJob.model_validate_json(line)
    if not job.debug:
        # Beam logs the traceback of what it then raises; whoever asked is told in one line.
        logging.getLogger("apache_beam.runners.common").setLevel(logging.CRITICAL)

    one_at_a_time = threading.Lock()

    def send(message: Message) -> None:
        with one_at_a_time:
            answer.write(message.model_dump_json(exclude_none=True) + "\n")
            answer.flush()

    def fail(error: Exception) -> None:
        send(Message(failure=Failure.of(error)))

    try:
        choice = RunnerChoice.parse(job.runner, job.beam_options)
        # What works on a cluster must be told that we end; what works here dies with us.
        grace_s = 0.0 if choice.local else _GRACE_S
        threading.Thread(target=_die_with, args=(request, grace_s), daemon=True).start()
        settings = Settings(**job.settings)
        if choice.here:
            reader_processes(settings.run)  # which start while this process imports what scores
        from cxr_pipelines.score import score  # noqa: PLC0415 - after the lifeline is up: it takes seconds

        with nullcontext() if choice.local else _ending_orderly():
            manifest = score(
                job.sources,
                job.out,
                settings,
                run_id=job.run_id,
                resume=job.resume,
                runner=choice,
                progress=lambda done, total: send(Message(progress=Progress(done=done, total=total))),
                under=job.under,
                on_lost=fail,  # whoever hears it ends this process group
            )
    except Exception as error:
        if job.debug and not isinstance(error, CxrError):
            traceback.print_exc()
        fail(error)
    else:
        send(Message(manifest=manifest))


if __name__ == "__main__":
    gc.set_threshold(*COLLECTED)
    # Libraries print; what they print goes to the log (stderr), and the real stdout is kept for messages alone.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        serve(sys.stdin.buffer, channel)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # the lifeline thread sits in a read that interpreter shutdown would wait for
