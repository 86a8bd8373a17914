"""The main program of a worker process: fetches and decodes the items that its parent sends.

``python -m cxrlib.parallel.worker_main PARENT_PID DESCRIPTOR`` is started by `cxrlib.parallel.worker_pool`.
`multiprocessing` is not used, because it would import the parent's main module here: Beam in a Beam worker, or a script
that starts a run at import. This process imports only what its work needs.

The process ends with its parent, however the parent ends. It ignores SIGINT and SIGTERM, which a terminal or a
supervisor sends to the whole process group; the parent handles them.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pickle
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import import_module
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import fsspec.config

from cxrlib.parallel.worker_protocol import (
    OUT_OF_MEMORY_EXIT,
    FetchDecodeWork,
    Message,
    MessageKind,
    StartWorker,
    WorkItem,
)

_PR_SET_PDEATHSIG: Final = 1
_CACHED_WORK: Final = 8
#: Decoding yields the processor to the networks. It runs ahead of them, so it has time while they wait and while Beam
#: and torch are imported.
_NICE: Final = 10

Value = TypeVar("Value")


class _Channel:
    """The connection to the parent; any thread may send."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, *messages: Message) -> None:
        with self._lock:
            self._connection.send(messages)

    def receive(self) -> Any:
        return self._connection.recv()


class _LogForwarder(logging.Handler):
    """Sends log records to the parent, where its own handlers and levels apply."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self._channel.send((MessageKind.LOG, 0, record))


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent ends: a hanging codec cannot notice a closed pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _limit(memory_mb: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain a patient's film


def _or_exit(step: Callable[[], Value]) -> Value:
    """Return the result of `step`; on MemoryError end the process, because anything else might fail after it."""
    try:
        return step()
    except MemoryError:
        os._exit(OUT_OF_MEMORY_EXIT)
    except (BrokenPipeError, ConnectionError, EOFError):
        os._exit(0)  # the parent is gone


@lru_cache(maxsize=_CACHED_WORK)
def _work(pickled: bytes) -> FetchDecodeWork[Any, Any]:
    work: FetchDecodeWork[Any, Any] = pickle.loads(pickled)  # noqa: S301 - from the parent, through a private pipe
    return work


def _serve(channel: _Channel, fetches: int) -> None:
    fetched: SimpleQueue[tuple[WorkItem, Callable[[], Any]]] = SimpleQueue()
    pool = ThreadPoolExecutor(fetches, thread_name_prefix="fetch")

    def fetch(work_item: WorkItem) -> None:
        try:
            data = _work(work_item.work).fetch(work_item.item)
        except MemoryError:
            raise
        except Exception as error:
            fetched.put((work_item, _raiser(error)))
        else:
            fetched.put((work_item, lambda: _work(work_item.work).decode(work_item.item, data)))

    def receive() -> None:
        while True:
            work_item = channel.receive()
            pool.submit(_or_exit, lambda work_item=work_item: fetch(work_item))

    # READY comes before the first fetch: if a film ends this process, the parent must not count it as a failed start.
    channel.send((MessageKind.READY, 0, None))
    threading.Thread(target=_or_exit, args=(receive,), daemon=True).start()
    finished: list[Message] = []  # sent together with the next BEGUN, if the next item is fetched already
    while True:
        if finished and fetched.empty():
            channel.send(*finished)
            finished.clear()
        work_item, decode = fetched.get()
        channel.send(*finished, (MessageKind.BEGUN, work_item.ticket, None))
        finished.clear()
        try:
            finished.append((MessageKind.DONE, work_item.ticket, decode()))
        except MemoryError:
            raise
        except Exception as error:
            finished.append((MessageKind.FAULT, work_item.ticket, type(error).__name__))  # the text may quote a header
        del decode  # frees the film's bytes now, not when the next film arrives


def _raiser(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def main(parent: int, descriptor: int) -> None:
    """Work for the process `parent`, over the open pipe `descriptor`, until it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _end_with(parent)
    os.nice(_NICE)
    channel = _Channel(Connection(descriptor))
    start: StartWorker = _or_exit(channel.receive)
    _limit(start.limits.memory_mb)
    fsspec.config.conf.update(start.fsspec)
    logging.getLogger().addHandler(_LogForwarder(channel))
    _or_exit(lambda: import_module(start.module))  # imports must not count against the time limit of the first film
    _or_exit(lambda: _serve(channel, start.limits.fetches))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
