"""The prefetcher: results in order, bounds on the work in progress, errors and cancellation."""

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


def test_results_come_in_the_order_of_the_items() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(
            Prefetcher(into(pool, lambda n: time.sleep(0.001 * (n % 3)) or n * n), range(30), PrefetchBounds(8))
        )
    assert results == [(n, n * n) for n in range(30)]


def test_started_items_are_bounded() -> None:
    started = 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal started
        with lock:
            started += 1

    with ThreadPoolExecutor(4) as pool:
        for taken, _ in enumerate(Prefetcher(into(pool, work), range(50), PrefetchBounds(5)), start=1):
            time.sleep(0.0005)
            assert started <= taken + 5


def test_work_runs_while_the_consumer_is_busy() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        results = Prefetcher(into(pool, lambda n: done.set() if n == 1 else None), range(3), PrefetchBounds(2))
        next(results)
        assert done.wait(5)


def test_close_cancels_items_that_have_not_started() -> None:
    started: list[int] = []
    gate = threading.Event()

    def work(n: int) -> None:
        started.append(n)
        if n:
            gate.wait(5)

    with ThreadPoolExecutor(1) as pool:
        results = Prefetcher(into(pool, work), range(10), PrefetchBounds(5))
        next(results)
        results.close()
        gate.set()
    assert max(started) <= 1


def test_error_of_the_work_is_raised_to_the_consumer() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(Prefetcher(into(pool, lambda n: 1 // n), [1, 0], PrefetchBounds(2)))


def test_bounds_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="got 0 items"):
        PrefetchBounds(0)
    with pytest.raises(ValueError, match="size 0"):
        PrefetchBounds(1, 0)


def test_work_starts_at_once_and_continues_without_the_consumer() -> None:
    started: list[int] = []
    all_started = threading.Event()

    def work(number: int) -> int:
        started.append(number)
        if len(started) == 6:
            all_started.set()
        return number

    with ThreadPoolExecutor(2) as pool:
        results = Prefetcher(into(pool, work), range(9), PrefetchBounds(6, 1), lambda _: 1)
        assert all_started.wait(5), "each finished item must start the next, up to six that are not consumed"
        time.sleep(0.05)
        assert sorted(started) == list(range(6))
        assert list(results) == [(number, number) for number in range(9)]


def test_error_of_submit_is_raised_to_the_consumer() -> None:
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
def test_size_in_progress_is_bounded_except_for_a_single_item(
    sizes: list[int], items: int, size: int, order: Random
) -> None:
    in_progress: dict[int, Future[int]] = {}
    untaken = 0

    def submit(number: int) -> Future[int]:
        nonlocal untaken
        in_progress[number] = Future()
        untaken += 1
        assert untaken <= items
        assert sum(sizes[each] for each in in_progress) <= size or len(in_progress) == 1
        return in_progress[number]

    results = Prefetcher(submit, range(len(sizes)), PrefetchBounds(items, size), lambda item: sizes[item])
    for wanted in range(len(sizes)):
        while wanted in in_progress:
            number = order.choice(sorted(in_progress))
            in_progress.pop(number).set_result(number)
        untaken -= 1
        assert next(results) == (wanted, wanted)
    assert next(results, None) is None


def test_simultaneous_ends_lose_and_repeat_no_item() -> None:
    with ThreadPoolExecutor(8) as pool:
        for items, size in ((1, 1), (3, 2), (8, None)):
            results = Prefetcher(into(pool, lambda n: n), range(2000), PrefetchBounds(items, size), lambda _: 1)
            assert [item for item, _ in results] == list(range(2000))
