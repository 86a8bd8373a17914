"""Work done ahead of whoever consumes it, in order and bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far ahead of the consumer work may be.

    Attributes
    ----------
    items : int
        Most items that were begun and not yet taken, at least 1.
    size : int or None
        Most that those under way may sum up to by `Ahead`'s `size_of`; one item alone may exceed it.
    """

    items: int
    size: int | None = None

    def __post_init__(self) -> None:
        if self.items < 1 or (self.size is not None and self.size < 1):
            raise ValueError(f"expected bounds of at least 1; got {self.items} items of size {self.size}")


class Ahead(Generic[Item, Result], Iterator[tuple[Item, Result]]):
    """Gives each item with its result, in the order of `items`, while those that follow are worked on.

    Work begins at once and goes on by itself as far as `bounds` allow, whether or not anything is taken yet; where one
    item takes long, no more than that waits behind it. When the consumer closes it, or work raises, what has not begun
    is called off.

    Parameters
    ----------
    submit : callable
        Begins the work on one item; called by the consumer or by whoever ends an earlier piece of work.
    items : iterable
    bounds : Bounds
    size_of : callable, optional
        What an item counts while it is under way; 0 without it.
    """

    def __init__(
        self,
        submit: Callable[[Item], Future[Result]],
        items: Iterable[Item],
        bounds: Bounds,
        size_of: Callable[[Item], int] = lambda _: 0,
    ) -> None:
        self._submit = submit
        self._bounds = bounds
        self._coming = deque((item, size_of(item)) for item in items)
        self._pending: deque[tuple[Item, Future[Result]]] = deque()
        self._under_way = self._size = 0
        self._filling = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()  # also the lock of all of these but the first two
        self._fill()

    def __next__(self) -> tuple[Item, Result]:
        self._fill()
        with self._changed:
            # What was just taken may still count as under way, and whoever ended it go on from there.
            self._changed.wait_for(lambda: self._pending or not self._coming or self._failure)
            if self._failure is not None:
                raise self._failure
            if not self._pending:
                raise StopIteration
            item, future = self._pending.popleft()
        try:
            result = future.result()
        except BaseException:
            self.close()
            raise
        self._fill()  # before this one is handed over: the consumer may be busy with it for long
        return item, result

    def close(self) -> None:
        """Call off what has not begun."""
        with self._changed:
            self._coming.clear()
            pending = list(self._pending)
            self._pending.clear()
        for _, future in pending:
            future.cancel()

    def _fill(self) -> None:
        """Begin what the bounds allow; left to the thread that does so already, if there is one."""
        with self._changed:
            if self._filling:
                return
            self._filling = True
        while (begun := self._begin()) is not None:
            future, size = begun
            future.add_done_callback(partial(self._done, size))

    def _begin(self) -> tuple[Future[Result], int] | None:
        """Begin the next item if it may; else stop filling, in the same breath, so that no end of one is missed."""
        with self._changed:
            if self._coming and len(self._pending) < self._bounds.items:
                item, size = self._coming[0]
                if not self._under_way or self._bounds.size is None or self._size + size <= self._bounds.size:
                    self._coming.popleft()
                    try:
                        future = self._submit(item)
                    except BaseException as error:
                        self._failure = error  # met by the consumer, whichever thread this is
                    else:
                        self._pending.append((item, future))
                        self._size += size
                        self._under_way += 1
                        return future, size
            self._filling = False
            self._changed.notify_all()
            return None

    def _done(self, size: int, _: Future[Result]) -> None:
        with self._changed:
            self._size -= size
            self._under_way -= 1
        self._fill()
        with self._changed:
            self._changed.notify_all()
