"""A worker process as its parent sees it: the tasks it holds, their deadlines, and what its exit code means."""

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
from cxrlib.parallel.malloc_settings import MALLOC_FOR_DECODING
from cxrlib.parallel.worker_protocol import (
    OUT_OF_MEMORY_EXIT,
    FetchDecodeWork,
    Loss,
    LostItem,
    MessageKind,
    StartWorker,
    WorkerLimits,
    WorkItem,
)

#: Starts the worker with this interpreter. With ``-P``, no module in the working directory replaces an installed one.
COMMAND: Final[tuple[str, ...]] = (sys.executable, "-P", "-m", "cxrlib.parallel.worker_main")
#: Makes OpenMP, OpenBLAS and OpenCV compute in one thread, because there is one process for each core.
_ONE_THREAD: Final = {**NO_BLAS_THREADS, **dict.fromkeys(("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1")}
#: Time limit for a process to start, in seconds. It takes 1 s on a quiet machine, and up to a minute on a busy one.
STARTUP_S: Final = 300.0
#: Seconds after a message in which a process may be between fetching and decoding, so that no deadline is checked.
_SETTLING_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Task:
    """An item, its work, and its future.

    Attributes
    ----------
    alone : bool
        The item may have ended a process, so it is tried again alone in a new process.
    deaths : int
        How many processes ended while they held the item, whatever the cause.
    since : float
        When it was last given to a process.
    """

    work_item: WorkItem
    work: FetchDecodeWork[Any, Any]
    future: Future[Any] = field(default_factory=Future)
    alone: bool = False
    deaths: int = 0
    since: float = 0.0

    def claim(self) -> bool:
        """Return whether the item was not cancelled; from now on it cannot be."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def give_up(self, lost: LostItem) -> None:
        """Set the result of a lost item."""
        self.future.set_result(self.work.on_lost(self.work_item.item, lost))


class WorkerProcess:
    """A started process. One thread must start, use and end it: on Linux the process ends with that thread."""

    def __init__(self, limits: WorkerLimits, module: str) -> None:
        self._limits = limits
        self.connection, childs_end = Pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - see COMMAND
                [*COMMAND, str(os.getpid()), str(childs_end.fileno())],
                env={**os.environ, **_ONE_THREAD, **MALLOC_FOR_DECODING},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[childs_end.fileno()],
            )
        except BaseException:
            self.connection.close()
            raise
        finally:
            childs_end.close()
        self.tasks: dict[int, Task] = {}
        self.ready = self.used = False
        self.decoding: int | None = None
        self._changed = time.monotonic()
        self._send(StartWorker(limits, module, dict(fsspec.config.conf)))

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def has_room(self) -> bool:
        """Whether it can take one more task."""
        return len(self.tasks) < self._limits.fetches and not any(task.alone for task in self.tasks.values())

    def give(self, task: Task) -> None:
        """Send a task to the process."""
        task.since = time.monotonic()
        self.used = True
        self.tasks[task.work_item.ticket] = task
        self._send(task.work_item)

    def _send(self, message: StartWorker | WorkItem) -> None:
        try:
            self.connection.send(message)
        except OSError:
            return  # the process is gone; the next read from it shows that, and its tasks are then reassigned

    def note(self, kind: MessageKind, ticket: int) -> None:
        """Update the state of the process after a message from it."""
        self._changed = time.monotonic()
        if kind is MessageKind.READY:
            self.ready = True
            for task in self.tasks.values():
                task.since = self._changed
        self.decoding = ticket if kind is MessageKind.BEGUN else None

    def overdue(self) -> list[Task]:
        """Return the tasks over their time limit: the one being decoded, or else those still being fetched."""
        now = time.monotonic()
        if self.decoding is not None:
            late = now - self._changed > self._limits.seconds
            return [self.tasks[self.decoding]] if late else []
        if not self.ready or now - self._changed < _SETTLING_S:
            return []
        return [task for task in self.tasks.values() if now - task.since > self._limits.seconds]

    @property
    def stuck(self) -> bool:
        """Whether it takes too long to start."""
        return not self.ready and time.monotonic() - self._changed > STARTUP_S

    def end(self) -> LostItem:
        """Kill the process if it still runs, and return what its end means for the only item that it held."""
        code = self._process.poll()
        if code is None:
            # A process that dies closes its end of the pipe a moment before its exit code is available.
            try:
                code = self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                self._process.kill()
                code = self._process.wait()
        self.connection.close()
        if code in (OUT_OF_MEMORY_EXIT, -signal.SIGKILL):
            return LostItem(Loss.MEMORY, f"{self._limits.memory_mb} MB")
        return LostItem(Loss.DIED, signal.Signals(-code).name if code < 0 else f"exit code {code}")
