"""Work done ahead of whoever consumes it, in order and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], executor: Executor, depth: int
) -> Iterator[tuple[Item, Result]]:
    """Yield each item with ``work(item)``, in the order of `items`, while `executor` works on those that follow.

    At most `depth` results exist that were not yet taken, so memory is bounded however slow the consumer is. When the
    consumer stops early, or `work` raises, what has not begun is called off.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1: met {depth}")
    source = iter(items)
    pending: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in islice(source, depth):
            pending.append((item, executor.submit(work, item)))
        while pending:
            item, future = pending.popleft()
            result = future.result()
            for following in islice(source, 1):
                pending.append((following, executor.submit(work, following)))
            yield item, result
    finally:
        for _, future in pending:
            future.cancel()
