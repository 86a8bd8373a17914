"""A worker process as its parent sees it: what it has in hand, since when, and what its end means."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Pipe
from typing import Any, Final

import fsspec.config

from cxrlib.parallel.cores import NO_BLAS_THREADS
from cxrlib.parallel.malloc_settings import KEPT_FOR_FILMS
from cxrlib.parallel.work import NO_MEMORY, Loss, Lost, Said, Start, Terms, Work, WorkItem

#: The child's side: our own module by our own interpreter.
COMMAND: Final[tuple[str, ...]] = (sys.executable, "-m", "cxrlib.parallel.worker_main")
#: What tells OpenMP, OpenBLAS and OpenCV to compute in one thread: there is a process for each core.
_ONE_THREAD: Final = {**NO_BLAS_THREADS, **dict.fromkeys(("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")}
#: Seconds that a process may take to start; a second on a quiet machine, a minute on one that is busy.
STARTUP_S: Final = 300.0
#: A process that said something so lately may be about to decode what it has fetched.
_SETTLING_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Task:
    """An item on its way.

    Attributes
    ----------
    alone : bool
        It may have ended a process, and is tried in a new one that does nothing else.
    ends : int
        How often the process that had it in hand ended, by whichever item.
    since : float
        When it was last handed out.
    """

    order: WorkItem
    work: Work[Any, Any]
    future: Future[Any] = field(default_factory=Future)
    alone: bool = False
    ends: int = 0
    since: float = 0.0

    def claim(self) -> bool:
        """Return whether it is still wanted; from then on it cannot be cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def give_up(self, lost: Lost) -> None:
        """Settle for what stands for a lost item."""
        self.future.set_result(self.work.lost(self.order.item, lost))


class WorkerProcess:
    """Starts a process. To be made, used and ended by one thread: on Linux the process ends with that thread."""

    def __init__(self, terms: Terms, module: str) -> None:
        self._terms = terms
        self.connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - see COMMAND
                [*COMMAND, str(os.getpid()), str(theirs.fileno())],
                env={**os.environ, **_ONE_THREAD, **KEPT_FOR_FILMS},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()
        self.in_hand: dict[int, Task] = {}
        self.ready = self.used = False
        self.decoding: int | None = None
        self._changed = time.monotonic()
        self._send(Start(terms, module, dict(fsspec.config.conf)))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def has_room(self) -> bool:
        """Whether it can take an item beside those it has."""
        return len(self.in_hand) < self._terms.fetches and not any(task.alone for task in self.in_hand.values())

    def give(self, task: Task) -> None:
        """Hand over a task."""
        task.since = time.monotonic()
        self.used = True
        self.in_hand[task.order.ticket] = task
        self._send(task.order)

    def _send(self, message: Start | WorkItem) -> None:
        try:
            self.connection.send(message)
        except OSError:
            return  # it is gone; that shows when it is next listened to, with all that it has in hand

    def note(self, said: Said, ticket: int) -> None:
        """Keep account of what the process tells of itself."""
        self._changed = time.monotonic()
        if said is Said.READY:
            self.ready = True
            for task in self.in_hand.values():
                task.since = self._changed
        self.decoding = ticket if said is Said.BEGUN else None

    def overdue(self) -> list[Task]:
        """Return what exceeds its deadline: the item in decoding, or else each that is still being fetched."""
        now = time.monotonic()
        if self.decoding is not None:
            late = now - self._changed > self._terms.seconds
            return [self.in_hand[self.decoding]] if late else []
        if not self.ready or now - self._changed < _SETTLING_S:
            return []
        return [task for task in self.in_hand.values() if now - task.since > self._terms.seconds]

    @property
    def stuck(self) -> bool:
        """Whether it takes too long to start."""
        return not self.ready and time.monotonic() - self._changed > STARTUP_S

    def end(self) -> Lost:
        """Kill the process if it still runs, and return what its end means for an item that it had to itself."""
        code = self._process.poll()
        if code is None:
            # A process that dies closes its end of the pipe a moment before it can be waited for.
            try:
                code = self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
        self.connection.close()
        if code in (NO_MEMORY, -signal.SIGKILL):
            return Lost(Loss.MEMORY, f"{self._terms.memory_mb} MB")
        return Lost(Loss.DIED, signal.Signals(-code).name if code < 0 else f"exit code {code}")
