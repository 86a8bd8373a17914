"""Work done in processes that may die: each item that ends its process costs itself and no other.

Two things end a process early. It dies (a codec that writes where it must not, memory that runs out), or it is killed
because an item exceeds its deadline. An exceeded deadline names its item. A death does not, since a codec may spoil
memory that another film then trips over; so what was being decoded is tried once more, alone, in a new process that has
done nothing before, and only if that dies too is the item given up. All else that the process had in hand is done again
elsewhere. `pebble` was tried: its pool fails one future alone, but cannot fetch one film while it decodes another, and
left a process behind that hung when its parent was killed. An executor of the standard library or of `loky` is broken
as a whole by one process that dies.

One thread of the parent deals with all processes, and holds no lock while it does.
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
from cxrlib.parallel.work import Loss, Lost, Message, Said, Terms, Work, WorkItem
from cxrlib.parallel.worker_process import Task, WorkerProcess

#: Seconds after which processes with nothing to do are ended; new work starts new ones.
IDLE_S: Final = 60.0
_TICK_S: Final = 0.25
#: Ends of processes in a row, before they could do anything, that say that no process will ever start.
_STARTS_TRIED: Final = 3

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """Processes, started when there is work for them.

    Parameters
    ----------
    terms : Terms
    idle_s : float
        Seconds after which idle processes are ended.
    """

    def __init__(self, terms: Terms, idle_s: float = IDLE_S) -> None:
        self._terms = terms
        self._idle_s = idle_s
        self._lock = threading.Lock()  # of the four that follow, which callers touch too
        self._waiting: deque[Task] = deque()
        self._rung = self._closing = False
        self._failure: Exception | None = None
        self._here: ThreadPoolExecutor | None = None
        self._bell, self._ring = Pipe(duplex=False)
        self._crew: list[WorkerProcess] = []
        self._selector = (
            DefaultSelector()
        )  # kept: one made for each message would cost more, the more processes there are
        self._selector.register(self._bell, EVENT_READ)
        self._suspects: deque[Task] = deque()
        self._failed_starts = 0
        self._tickets = count(1)
        self._pickled: tuple[Work[Any, Any] | None, bytes] = (None, b"")
        self._prepared: str | None = None
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._thread.start()

    @property
    def at_work(self) -> bool:
        """Whether more may be submitted."""
        return not self._closing and self._failure is None

    @property
    def pids(self) -> list[int]:
        """Ids of the processes that there are."""
        return [process.pid for process in list(self._crew)]

    def submit(self, work: Work[Item, Result], item: Item, /) -> Future[Result]:
        """Have `work` done on `item`; both are small, since they are sent while other processes wait.

        The future gives what ``work.lost`` returns where the item ended its process.

        Raises
        ------
        RunError
            The workers are closed, or none can be started; the future raises it for what was under way.
        """
        if work.stays(item):
            with self._lock:
                self._here = self._here or ThreadPoolExecutor(self._terms.processes, thread_name_prefix="decode")
            return self._here.submit(work, item)
        task = Task(WorkItem(next(self._tickets), self._pickle(work), item), work)
        with self._lock:
            if not self.at_work:
                raise self._failure or RunError("expected workers at work; got workers that are closed")
            self._waiting.append(task)
            self._wake()
        return task.future

    def prepare(self, module: str) -> None:
        """Start all processes now, since work that `module` defines will come: starting takes seconds."""
        with self._lock:
            self._prepared = module
            self._wake()

    def close(self) -> None:
        """End all processes; what is not done yet raises `RunError`."""
        with self._lock:
            self._closing = True
            self._wake()
        self._thread.join()
        if self._here is not None:
            self._here.shutdown(wait=False, cancel_futures=True)

    def _pickle(self, work: Work[Any, Any]) -> bytes:
        last, pickled = self._pickled
        if last is not work:  # one piece of work is done on very many items
            pickled = pickle.dumps(work)
            self._pickled = (work, pickled)
        return pickled

    def _wake(self) -> None:
        """Have the one thread hand out what is new; it does so by itself after whatever it is busy with."""
        if not self._rung and threading.current_thread() is not self._thread:
            self._rung = True
            self._ring.send_bytes(b"")

    # What follows is done by the one thread.

    def _run(self) -> None:
        failure: Exception = RunError("expected workers at work; got workers that were closed")
        try:
            while not self._closing:
                self._start_prepared()
                self._hand_out()
                self._listen()
                for process in list(self._crew):
                    late = process.overdue()
                    # What it has said and was not heard yet comes first: it may be that it is done.
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
        for process in self._crew:
            left += process.in_hand.values()
            process.end()
        self._crew.clear()
        self._selector.close()
        for task in left:
            if task.claim():
                task.future.set_exception(failure)

    def _start_prepared(self) -> None:
        with self._lock:
            prepared, self._prepared = self._prepared, None
        while prepared is not None and len(self._crew) < self._terms.processes:
            self._start(prepared)

    def _hand_out(self) -> None:
        while task := self._next():
            process = self._place_for(task)
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
        """Return what to hand out next. Others wait while a suspect does: else no process would ever be free for it."""
        if self._suspects:
            return self._suspects[0]
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _place_for(self, task: Task) -> WorkerProcess | None:
        least = min(self._crew, key=lambda process: len(process.in_hand), default=None)
        if task.alone:
            unused = next((process for process in self._crew if not process.used), None)
            if unused is None and len(self._crew) == self._terms.processes:
                if least is None or least.in_hand:
                    return None
                self._reap(least)
            return unused or self._start(type(task.work).__module__)
        if (least is None or least.in_hand) and len(self._crew) < self._terms.processes:
            return self._start(type(task.work).__module__)
        return min(
            (process for process in self._crew if process.has_room),
            key=lambda process: len(process.in_hand),
            default=None,
        )

    def _start(self, module: str) -> WorkerProcess:
        process = WorkerProcess(self._terms, module)
        self._crew.append(process)
        self._selector.register(process.connection, EVENT_READ, process)
        return process

    def _listen(self) -> None:
        busy = any(process.in_hand for process in self._crew)
        heard = [key.data for key, _ in self._selector.select(_TICK_S if busy else self._idle_s)]
        if not heard and not busy:
            for process in list(self._crew):
                self._reap(process)
        for process in heard:
            if process is None:
                with self._lock:
                    self._bell.recv_bytes()
                    self._rung = False
                continue
            try:
                self._hear(process)
            except Exception:  # it is gone, or so far gone that what it sends is no message
                self._reap(process)

    def _hear(self, process: WorkerProcess) -> None:
        messages: tuple[Message, ...] = process.connection.recv()
        for said, ticket, payload in messages:
            if said is Said.LOG:
                logging.getLogger(payload.name).handle(payload)
                continue
            process.note(said, ticket)
            if said is Said.READY:
                self._failed_starts = 0
            elif said is Said.DONE:
                process.in_hand.pop(ticket).future.set_result(payload)
            elif said is Said.FAULT:
                process.in_hand.pop(ticket).future.set_exception(RunError(f"expected a result; got a {payload}"))

    def _reap(self, process: WorkerProcess, late: list[Task] | None = None) -> None:
        """End a process, or find it dead, and see to what it had in hand."""
        self._crew.remove(process)
        self._selector.unregister(process.connection)
        lost = process.end()
        if not process.ready and process.in_hand:
            self._failed_starts += 1
            if self._failed_starts == _STARTS_TRIED:
                self._suspects.extend(process.in_hand.values())  # so that they hear of it too
                raise RunError(f"expected a worker process that starts; got {_STARTS_TRIED} that ended: {lost.detail}")
        again: list[Task] = []
        for ticket, task in process.in_hand.items():
            if late is not None and task in late:
                task.give_up(Lost(Loss.TIME, f"{self._terms.seconds:g} s"))
            elif process.ready and task.alone:
                task.give_up(lost)
            else:
                task.ends += process.ready and late is None
                # Two ends that nobody else explains: it may have died while it was fetched.
                task.alone = task.alone or (late is None and (ticket == process.decoding or task.ends > 1))
                again.append(task)
        self._suspects.extend(task for task in again if task.alone)
        with self._lock:
            self._waiting.extendleft(reversed([task for task in again if not task.alone]))


#: What OpenCV, GDCM and torch put into the environment as they are imported: no credentials, and not to be taken for
#: such between the start of the workers, before torch is imported, and the chunks that they read.
_SET_BY_IMPORTS: Final = frozenset(["LD_LIBRARY_PATH", "GDCM_RESOURCES_PATH", "TORCHINDUCTOR_CACHE_DIR"])

_shared: dict[tuple[Any, ...], Workers] = {}
_shared_lock = threading.Lock()


def shared(terms: Terms) -> Workers:
    """Return the workers of this process for `terms`, which end with it.

    A process started by another environment or fsspec configuration may have other credentials, so these have workers
    of their own; those no longer asked for end when they have nothing to do.
    """
    environment = sorted(item for item in os.environ.items() if item[0] not in _SET_BY_IMPORTS)
    key = (os.getpid(), terms, hash((*environment, repr(fsspec.config.conf))))
    with _shared_lock:
        if key not in _shared or not _shared[key].at_work:
            _shared[key] = Workers(terms)
        return _shared[key]


@atexit.register
def _close_shared() -> None:
    for (pid, *_), workers in list(_shared.items()):
        if pid == os.getpid():  # a fork has the table and none of the threads
            workers.close()
