"""Work done ahead of its consumer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrlib.parallel.prefetch import PrefetchBounds, Prefetcher

Result = TypeVar("Result")


def into(pool: ThreadPoolExecutor, work: Callable[[int], Result]) -> Callable[[int], Future[Result]]:
    return lambda item: pool.submit(work, item)


def test_results_come_in_order_whatever_finishes_first() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(
            Prefetcher(into(pool, lambda n: time.sleep(0.001 * (n % 3)) or n * n), range(30), PrefetchBounds(8))
        )
    assert results == [(n, n * n) for n in range(30)]


def test_no_more_than_the_depth_is_ever_begun_ahead() -> None:
    begun = 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal begun
        with lock:
            begun += 1

    with ThreadPoolExecutor(4) as pool:
        for taken, _ in enumerate(Prefetcher(into(pool, work), range(50), PrefetchBounds(5)), start=1):
            time.sleep(0.0005)
            assert begun <= taken + 5


def test_work_is_under_way_while_the_consumer_is_busy() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        results = Prefetcher(into(pool, lambda n: done.set() if n == 1 else None), range(3), PrefetchBounds(2))
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
        results = Prefetcher(into(pool, work), range(10), PrefetchBounds(5))
        next(results)
        results.close()
        gate.set()
    assert max(begun) <= 1


def test_an_error_of_the_work_reaches_the_consumer() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(Prefetcher(into(pool, lambda n: 1 // n), [1, 0], PrefetchBounds(2)))


def test_bounds_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 items"):
        PrefetchBounds(0)
    with pytest.raises(ValueError, match="size 0"):
        PrefetchBounds(1, 0)


def test_work_begins_before_anything_is_asked_for_and_goes_on_by_itself() -> None:
    begun: list[int] = []
    all_begun = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if len(begun) == 6:
            all_begun.set()
        return number

    with ThreadPoolExecutor(2) as pool:
        results = Prefetcher(into(pool, work), range(9), PrefetchBounds(6, 1), lambda _: 1)
        assert all_begun.wait(5), "each end of one should begin the next, up to six that nobody has taken"
        time.sleep(0.05)
        assert sorted(begun) == list(range(6))
        assert list(results) == [(number, number) for number in range(9)]


def test_work_that_cannot_begin_is_told_to_the_consumer_whoever_meets_it() -> None:
    def submit(number: int) -> Future[int]:
        if number == 2:
            raise RuntimeError("closed")
        return pool.submit(lambda: number)

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="closed"):
        list(Prefetcher(submit, range(4), PrefetchBounds(1)))


@given(
    sizes=st.lists(st.integers(1, 50)),
    items=st.integers(1, 9),
    size=st.integers(1, 80),
    order=st.randoms(use_true_random=False),
)
def test_what_is_under_way_is_bounded_by_size_unless_it_is_one_item(
    sizes: list[int], items: int, size: int, order: Random
) -> None:
    under_way: dict[int, Future[int]] = {}
    untaken = 0

    def submit(number: int) -> Future[int]:
        nonlocal untaken
        under_way[number] = Future()
        untaken += 1
        assert untaken <= items
        assert sum(sizes[each] for each in under_way) <= size or len(under_way) == 1
        return under_way[number]

    results = Prefetcher(submit, range(len(sizes)), PrefetchBounds(items, size), lambda item: sizes[item])
    for wanted in range(len(sizes)):
        while wanted in under_way:
            number = order.choice(sorted(under_way))
            under_way.pop(number).set_result(number)
        untaken -= 1
        assert next(results) == (wanted, wanted)
    assert next(results, None) is None


def test_threads_that_end_work_at_once_lose_and_double_nothing() -> None:
    with ThreadPoolExecutor(8) as pool:
        for items, size in ((1, 1), (3, 2), (8, None)):
            results = Prefetcher(into(pool, lambda n: n), range(2000), PrefetchBounds(items, size), lambda _: 1)
            assert [item for item, _ in results] == list(range(2000))
