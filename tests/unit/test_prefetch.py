"""Work done ahead of its consumer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrlib.parallel.prefetch import Bounds, ahead

Result = TypeVar("Result")


def into(pool: ThreadPoolExecutor, work: Callable[[int], Result]) -> Callable[[int], Future[Result]]:
    return lambda item: pool.submit(work, item)


def test_results_come_in_order_whatever_finishes_first() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(ahead(into(pool, lambda n: time.sleep(0.001 * (n % 3)) or n * n), range(30), Bounds(8)))
    assert results == [(n, n * n) for n in range(30)]


def test_no_more_than_the_depth_is_ever_begun_ahead() -> None:
    begun = 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal begun
        with lock:
            begun += 1

    with ThreadPoolExecutor(4) as pool:
        for taken, _ in enumerate(ahead(into(pool, work), range(50), Bounds(5)), start=1):
            time.sleep(0.0005)
            assert begun <= taken + 5


def test_work_is_under_way_while_the_consumer_is_busy() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        results = ahead(into(pool, lambda n: done.set() if n == 1 else None), range(3), Bounds(2))
        next(results)
        assert done.wait(5)


def test_what_has_not_begun_is_called_off_when_the_consumer_stops() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(n: int) -> None:
        begun.append(n)
        if n:
            gate.wait(5)

    with ThreadPoolExecutor(1) as pool:
        results = ahead(into(pool, work), range(10), Bounds(5))
        next(results)
        results.close()
        gate.set()
    assert max(begun) <= 1


def test_an_error_of_the_work_reaches_the_consumer() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(ahead(into(pool, lambda n: 1 // n), [1, 0], Bounds(2)))


def test_bounds_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="met 0 items"):
        Bounds(0)
    with pytest.raises(ValueError, match="size 0"):
        Bounds(1, 0)


class Taken(Future[int]):
    """A result that is there at once; `waiting` holds the sizes of those not taken."""

    def __init__(self, waiting: list[int]) -> None:
        super().__init__()
        self.waiting = waiting
        self.set_result(0)

    def result(self, timeout: float | None = None) -> int:
        self.waiting.pop(0)
        return super().result(timeout)


@given(sizes=st.lists(st.integers(1, 50)), items=st.integers(1, 9), size=st.integers(1, 80))
def test_what_waits_is_bounded_by_size_unless_it_is_one_item(sizes: list[int], items: int, size: int) -> None:
    waiting: list[int] = []

    def submit(number: int) -> Future[int]:
        waiting.append(sizes[number])
        assert len(waiting) <= items
        assert sum(waiting) <= size or len(waiting) == 1
        return Taken(waiting)

    taken = [item for item, _ in ahead(submit, range(len(sizes)), Bounds(items, size), lambda item: sizes[item])]
    assert taken == list(range(len(sizes)))
