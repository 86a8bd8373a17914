"""Start work on items before the consumer asks for the results; in order, and bounded."""

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
class PrefetchBounds:
    """How far the work may run ahead of the consumer.

    Attributes
    ----------
    items : int
        Maximum number of items that were started and not consumed yet, at least 1.
    size : int or None
        Maximum sum of the sizes of the items in progress, by the `size_of` of `Prefetcher`. A single item may be
        larger.
    """

    items: int
    size: int | None = None

    def __post_init__(self) -> None:
        if self.items < 1 or (self.size is not None and self.size < 1):
            raise ValueError(f"expected bounds of at least 1; got {self.items} items of size {self.size}")


class Prefetcher(Generic[Item, Result], Iterator[tuple[Item, Result]]):
    """Iterate over items and their results, in the order of `items`, while work on the next items runs.

    Work starts at once and continues up to `bounds`, whether or not the consumer takes results. A slow item delays no
    more work than the bounds hold. When the consumer calls `close`, or the work raises, items that have not started
    are cancelled.

    Parameters
    ----------
    submit : callable
        Starts the work on one item. It is called in the consumer's thread or in a thread that finished earlier work.
    items : iterable
    bounds : PrefetchBounds
    size_of : callable, optional
        Size of an item while it is in progress; 0 by default.
    """

    def __init__(
        self,
        submit: Callable[[Item], Future[Result]],
        items: Iterable[Item],
        bounds: PrefetchBounds,
        size_of: Callable[[Item], int] = lambda _: 0,
    ) -> None:
        self._submit = submit
        self._bounds = bounds
        self._remaining = deque((item, size_of(item)) for item in items)
        self._started: deque[tuple[Item, Future[Result]]] = deque()
        self._in_progress = self._size = 0
        self._filling = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()  # also the lock of every attribute above except the first two
        self._fill()

    def __next__(self) -> tuple[Item, Result]:
        self._fill()
        with self._changed:
            # The item consumed last may still count as in progress; the thread that finished it then starts the next.
            self._changed.wait_for(lambda: self._started or not self._remaining or self._failure)
            if self._failure is not None:
                raise self._failure
            if not self._started:
                raise StopIteration
            item, future = self._started.popleft()
        try:
            result = future.result()
        except BaseException:
            self.close()
            raise
        self._fill()  # before returning: the consumer may be busy with this result for a long time
        return item, result

    def close(self) -> None:
        """Cancel all items that have not started."""
        with self._changed:
            self._remaining.clear()
            started = list(self._started)
            self._started.clear()
        for _, future in started:
            future.cancel()

    def _fill(self) -> None:
        """Start work up to the bounds; if another thread does so already, leave it to that thread."""
        with self._changed:
            if self._filling:
                return
            self._filling = True
        while (started := self._start_next()) is not None:
            future, size = started
            future.add_done_callback(partial(self._done, size))

    def _start_next(self) -> tuple[Future[Result], int] | None:
        """Start the next item if the bounds allow it; otherwise stop filling, under the same lock."""
        with self._changed:
            if self._remaining and len(self._started) < self._bounds.items:
                item, size = self._remaining[0]
                if not self._in_progress or self._bounds.size is None or self._size + size <= self._bounds.size:
                    self._remaining.popleft()
                    try:
                        future = self._submit(item)
                    except BaseException as error:
                        self._failure = error  # raised to the consumer, whichever thread this is
                    else:
                        self._started.append((item, future))
                        self._size += size
                        self._in_progress += 1
                        return future, size
            self._filling = False
            self._changed.notify_all()
            return None

    def _done(self, size: int, _: Future[Result]) -> None:
        with self._changed:
            self._size -= size
            self._in_progress -= 1
        self._fill()
        with self._changed:
            self._changed.notify_all()
