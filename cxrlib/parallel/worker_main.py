"""A worker process: fetches and decodes what its parent hands it. ``python -m cxrlib.parallel.worker_main PARENT
DESCRIPTOR``.

It is started by `cxrlib.parallel.worker_pool` as a plain program and not by `multiprocessing`, which would import the
parent's main
module here: Beam, in a worker of Beam, or a script that begins a run where it stands. So it imports what its work takes
and nothing else. It ends with its parent however that ends, and on no other wish: Ctrl-C and SIGTERM, which a terminal
or a supervisor sends to the whole group, are the parent's to answer.
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

from cxrlib.parallel.work import NO_MEMORY, Message, Said, Start, Work, WorkItem

_PR_SET_PDEATHSIG: Final = 1
_WORKS_KEPT: Final = 8
#: By how much a film yields the processor to the networks, which never run ahead of the films: what is decoded ahead
#: is decoded while they wait, and while Beam and torch are imported.
_NICE: Final = 10

Value = TypeVar("Value")


class _Channel:
    """The way to the parent, for any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, *messages: Message) -> None:
        with self._lock:
            self._connection.send(messages)

    def hear(self) -> Any:
        return self._connection.recv()


class _Told(logging.Handler):
    """Hands what is logged here to the parent, whose handlers and levels hold."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__(logging.WARNING)
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args, record.exc_info = record.getMessage(), None, None
        self._channel.say((Said.LOG, 0, record))


def _end_with(parent: int) -> None:
    """Have the kernel end this process with its parent: a codec that hangs hears nothing of a closed pipe."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)


def _limit(memory_mb: int) -> None:
    with contextlib.suppress(ValueError, OSError):  # a lower limit holds already
        resource.setrlimit(resource.RLIMIT_DATA, (memory_mb * 2**20, memory_mb * 2**20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold a patient's film


def _or_exit(step: Callable[[], Value]) -> Value:
    """Return what `step` gives; end the process where it finds no memory: what else would fail cannot be known."""
    try:
        return step()
    except MemoryError:
        os._exit(NO_MEMORY)
    except (BrokenPipeError, ConnectionError, EOFError):
        os._exit(0)  # nobody is there to work for


@lru_cache(maxsize=_WORKS_KEPT)
def _work(pickled: bytes) -> Work[Any, Any]:
    work: Work[Any, Any] = pickle.loads(pickled)  # noqa: S301 - from the parent, through a pipe of its own
    return work


def _serve(channel: _Channel, fetches: int) -> None:
    fetched: SimpleQueue[tuple[WorkItem, Callable[[], Any]]] = SimpleQueue()
    pool = ThreadPoolExecutor(fetches, thread_name_prefix="fetch")

    def fetch(order: WorkItem) -> None:
        try:
            data = _work(order.work).fetch(order.item)
        except MemoryError:
            raise
        except Exception as error:
            fetched.put((order, _raiser(error)))
        else:
            fetched.put((order, lambda: _work(order.work).decode(order.item, data)))

    def receive() -> None:
        while True:
            order = channel.hear()
            pool.submit(_or_exit, lambda order=order: fetch(order))

    # Before anything is fetched: an end that a film brings about is none of starting.
    channel.say((Said.READY, 0, None))
    threading.Thread(target=_or_exit, args=(receive,), daemon=True).start()
    ended: list[Message] = []  # how the last one did; told together with the next one's beginning, if that is there
    while True:
        if ended and fetched.empty():
            channel.say(*ended)
            ended.clear()
        order, decode = fetched.get()
        channel.say(*ended, (Said.BEGUN, order.ticket, None))
        ended.clear()
        try:
            ended.append((Said.DONE, order.ticket, decode()))
        except MemoryError:
            raise
        except Exception as error:
            ended.append((Said.FAULT, order.ticket, type(error).__name__))  # its text may quote a header
        del decode  # and with it the bytes of the film, which else stay until the next one comes


def _raiser(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


def main(parent: int, descriptor: int) -> None:
    """Work for the process `parent`, to which the open `descriptor` leads, until it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _end_with(parent)
    os.nice(_NICE)
    channel = _Channel(Connection(descriptor))
    start: Start = _or_exit(channel.hear)
    _limit(start.terms.memory_mb)
    fsspec.config.conf.update(start.fsspec)
    logging.getLogger().addHandler(_Told(channel))
    _or_exit(lambda: import_module(start.module))  # what reading films takes; no film's deadline is to pay for that
    _or_exit(lambda: _serve(channel, start.terms.fetches))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
