"""Run work in processes that may die: an item that ends its process is lost, and no other item.

Two things end a process early. It dies (a codec writes to a wrong address, memory runs out), or it is killed because an
item exceeds its time limit. After a time limit, the pool knows which item caused it. After a death it does not: a codec
may corrupt memory on which a later film fails. So the item that was being decoded is tried once more, alone, in a new
process. If that process dies too, the item is given up. All other items of the process are repeated in other processes.

`pebble` was tried: its pool fails one future alone, but it cannot fetch one film while it decodes another, and a
hanging process survived a killed parent. With an executor of the standard library or of `loky`, one dead process breaks
the whole pool.

One thread of the parent handles all processes. It holds no lock while it does.
"""

from __future__ import annotations

import atexit
import logging
import os
import pickle
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from multiprocessing.connection import Pipe
from selectors import EVENT_READ, DefaultSelector
from typing import Any, Final, TypeVar

import fsspec.config

from cxrlib.errors import RunError
from cxrlib.parallel.worker_process import Task, WorkerProcess
from cxrlib.parallel.worker_protocol import (
    FetchDecodeWork,
    Loss,
    LostItem,
    Message,
    MessageKind,
    WorkerLimits,
    WorkItem,
)

#: Seconds after which idle processes are ended. New work starts new ones.
IDLE_S: Final = 60.0
_TICK_S: Final = 0.25
#: Number of processes in a row that end before they are ready, after which the pool fails.
_FAILED_STARTS: Final = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool:
    """A pool of processes, which are started when there is work.

    Parameters
    ----------
    limits : WorkerLimits
    idle_s : float
        Seconds after which idle processes are ended.
    """

    def __init__(self, limits: WorkerLimits, idle_s: float = IDLE_S) -> None:
        self._limits = limits
        self._idle_s = idle_s
        self._lock = threading.Lock()  # guards the next five attributes, which callers use too
        self._waiting: deque[Task] = deque()
        self._woken = self._closing = False
        self._failure: Exception | None = None
        self._local: ThreadPoolExecutor | None = None
        self._wake_reader, self._wake_writer = Pipe(duplex=False)
        self._processes: list[WorkerProcess] = []
        # One selector for all messages: a new one for each message costs more, the more processes there are.
        self._selector = DefaultSelector()
        self._selector.register(self._wake_reader, EVENT_READ)
        self._suspects: deque[Task] = deque()
        self._failed_starts = 0
        self._tickets = count(1)
        self._pickled: tuple[FetchDecodeWork[Any, Any] | None, bytes] = (None, b"")
        self._prepared: str | None = None
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether the pool accepts work."""
        return not self._closing and self._failure is None

    @property
    def pids(self) -> list[int]:
        """Ids of the running processes."""
        return [process.pid for process in list(self._processes)]

    def submit(self, work: FetchDecodeWork[Item, Result], item: Item, /) -> Future[Result]:
        """Start `work` on `item`. Both should be small: sending them delays other processes.

        If the item ends its process, the future gives the result of ``work.on_lost``.

        Raises
        ------
        RunError
            The pool is closed, or no process can be started. The futures of earlier items raise it too.
        """
        if work.needs_this_process(item):
            with self._lock:
                self._local = self._local or ThreadPoolExecutor(self._limits.processes, thread_name_prefix="decode")
            return self._local.submit(work, item)
        task = Task(WorkItem(next(self._tickets), self._pickle(work), item), work)
        with self._lock:
            if not self.is_open:
                raise self._failure or RunError("expected an open worker pool; got one that is closed")
            self._waiting.append(task)
            self._wake()
        return task.future

    def prepare(self, module: str) -> None:
        """Start all processes now, for work that `module` defines: a start takes seconds."""
        with self._lock:
            self._prepared = module
            self._wake()

    def close(self) -> None:
        """End all processes. The futures of unfinished items raise `RunError`."""
        with self._lock:
            self._closing = True
            self._wake()
        self._thread.join()
        if self._local is not None:
            self._local.shutdown(wait=False, cancel_futures=True)

    def _pickle(self, work: FetchDecodeWork[Any, Any]) -> bytes:
        last, pickled = self._pickled
        if last is not work:  # the same work is usually done on very many items
            pickled = pickle.dumps(work)
            self._pickled = (work, pickled)
        return pickled

    def _wake(self) -> None:
        """Wake the pool's thread, unless it is woken already or is the caller. The lock must be held."""
        if not self._woken and threading.current_thread() is not self._thread:
            self._woken = True
            self._wake_writer.send_bytes(b"")

    # All methods below run in the pool's thread.

    def _run(self) -> None:
        failure: Exception = RunError("expected an open worker pool; got one that was closed")
        try:
            while not self._closing:
                self._start_prepared()
                self._hand_out()
                self._receive()
                for process in list(self._processes):
                    late = process.overdue()
                    # Read waiting messages first: the process may be done.
                    if (late or process.stuck) and not process.connection.poll():
                        self._reap(process, late or None)
        except Exception as error:
            failure = error
        finally:
            with self._lock:
                self._failure = failure
            self._give_up(failure)

    def _give_up(self, failure: Exception) -> None:
        left = [*self._suspects, *self._waiting]
        for process in self._processes:
            left += process.tasks.values()
            process.end()
        self._processes.clear()
        self._selector.close()
        for task in left:
            if task.claim():
                task.future.set_exception(failure)

    def _start_prepared(self) -> None:
        with self._lock:
            prepared, self._prepared = self._prepared, None
        while prepared is not None and len(self._processes) < self._limits.processes:
            self._start(prepared)

    def _hand_out(self) -> None:
        while task := self._next():
            process = self._process_for(task)
            if process is None:
                return
            if task.alone:
                self._suspects.popleft()
            else:
                with self._lock:
                    self._waiting.popleft()
            if task.claim():
                process.give(task)

    def _next(self) -> Task | None:
        """Return the next task. A suspect goes first: otherwise no process would ever be free for it."""
        if self._suspects:
            return self._suspects[0]
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _process_for(self, task: Task) -> WorkerProcess | None:
        """Return a process that can take `task`, started if needed; None if all are busy."""
        least = min(self._processes, key=lambda process: len(process.tasks), default=None)
        if task.alone:
            unused = next((process for process in self._processes if not process.used), None)
            if unused is None and len(self._processes) == self._limits.processes:
                if least is None or least.tasks:
                    return None
                self._reap(least)
            return unused or self._start(type(task.work).__module__)
        if (least is None or least.tasks) and len(self._processes) < self._limits.processes:
            return self._start(type(task.work).__module__)
        return min(
            (process for process in self._processes if process.has_room),
            key=lambda process: len(process.tasks),
            default=None,
        )

    def _start(self, module: str) -> WorkerProcess:
        process = WorkerProcess(self._limits, module)
        self._processes.append(process)
        self._selector.register(process.connection, EVENT_READ, process)
        return process

    def _receive(self) -> None:
        """Wait for messages from the processes and handle them; end idle processes."""
        busy = any(process.tasks for process in self._processes)
        readable = [key.data for key, _ in self._selector.select(_TICK_S if busy else self._idle_s)]
        if not readable and not busy:
            for process in list(self._processes):
                self._reap(process)
        for process in readable:
            if process is None:
                with self._lock:
                    self._wake_reader.recv_bytes()
                    self._woken = False
                continue
            try:
                self._handle_messages(process)
            except Exception:  # the process died, or its memory is so corrupt that it sends no valid message
                self._reap(process)

    def _handle_messages(self, process: WorkerProcess) -> None:
        messages: tuple[Message, ...] = process.connection.recv()
        for kind, ticket, payload in messages:
            if kind is MessageKind.LOG:
                logging.getLogger(payload.name).handle(payload)
                continue
            process.note(kind, ticket)
            if kind is MessageKind.READY:
                self._failed_starts = 0
            elif kind is MessageKind.DONE:
                process.tasks.pop(ticket).future.set_result(payload)
            elif kind is MessageKind.FAULT:
                process.tasks.pop(ticket).future.set_exception(RunError(f"expected a result; got a {payload}"))

    def _reap(self, process: WorkerProcess, late: list[Task] | None = None) -> None:
        """End a process, or find it dead; give up its `late` tasks and schedule its other tasks again."""
        self._processes.remove(process)
        self._selector.unregister(process.connection)
        lost = process.end()
        if not process.ready and process.tasks:
            self._failed_starts += 1
            if self._failed_starts == _FAILED_STARTS:
                self._suspects.extend(process.tasks.values())  # so that their futures raise the error too
                raise RunError(f"expected a worker process that starts; got {_FAILED_STARTS} that ended: {lost.detail}")
        again: list[Task] = []
        for ticket, task in process.tasks.items():
            if late is not None and task in late:
                task.give_up(LostItem(Loss.TIME, f"{self._limits.seconds:g} s"))
            elif process.ready and task.alone:
                task.give_up(lost)
            else:
                task.deaths += process.ready and late is None
                # An item is suspect too if two processes died that held it: they may have died while they fetched it.
                task.alone = task.alone or (late is None and (ticket == process.decoding or task.deaths > 1))
                again.append(task)
        self._suspects.extend(task for task in again if task.alone)
        with self._lock:
            self._waiting.extendleft(reversed([task for task in again if not task.alone]))


#: Variables that OpenCV, GDCM and torch set at import. They are no credentials. The workers start before torch is
#: imported and the chunks are read after it, so these variables must not count as another environment.
_SET_BY_IMPORTS: Final = frozenset(["LD_LIBRARY_PATH", "GDCM_RESOURCES_PATH", "TORCHINDUCTOR_CACHE_DIR"])

_shared: dict[tuple[Any, ...], WorkerPool] = {}
_shared_lock = threading.Lock()


def shared_pool(limits: WorkerLimits) -> WorkerPool:
    """Return this process's pool for `limits`; it ends with the process.

    Credentials may be in the environment or in the fsspec configuration, so each combination of these has its own pool.
    The processes of a pool that is no longer used end when they are idle.
    """
    environment = sorted(item for item in os.environ.items() if item[0] not in _SET_BY_IMPORTS)
    key = (os.getpid(), limits, hash((*environment, repr(fsspec.config.conf))))
    with _shared_lock:
        if key not in _shared or not _shared[key].is_open:
            _shared[key] = WorkerPool(limits)
        return _shared[key]


@atexit.register
def _close_shared() -> None:
    for (pid, *_), pool in list(_shared.items()):
        if pid == os.getpid():  # a forked process has this table but none of the threads
            pool.close()
