"""Work done ahead of whoever consumes it, in order and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

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
        Most that they may sum up to by `ahead`'s `size_of`; one item alone may exceed it.
    """

    items: int
    size: int | None = None

    def __post_init__(self) -> None:
        if self.items < 1 or (self.size is not None and self.size < 1):
            raise ValueError(f"expected bounds of at least 1; met {self.items} items of size {self.size}")


def ahead(
    submit: Callable[[Item], Future[Result]],
    items: Iterable[Item],
    bounds: Bounds,
    size_of: Callable[[Item], int] = lambda _: 0,
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with its result, in the order of `items`, while those that follow are worked on.

    `submit` begins the work on one item. Memory is bounded however slow the consumer is, and where one item takes long,
    no more than `bounds` wait behind it. When the consumer stops early, or work raises, what has not begun is called
    off.
    """
    source = ((item, size_of(item)) for item in items)
    coming = next(source, None)
    pending: deque[tuple[Item, int, Future[Result]]] = deque()
    total = 0

    def fill() -> None:
        nonlocal coming, total
        while coming is not None and len(pending) < bounds.items:
            item, size = coming
            if pending and bounds.size is not None and total + size > bounds.size:
                return
            pending.append((item, size, submit(item)))
            total += size
            coming = next(source, None)

    try:
        fill()
        while pending:
            item, size, future = pending.popleft()
            result = future.result()
            total -= size
            fill()  # before this one is handed over: the consumer may be busy with it for long
            yield item, result
    finally:
        for _, _, future in pending:
            future.cancel()
