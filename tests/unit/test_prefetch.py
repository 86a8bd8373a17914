"""Work done ahead of its consumer."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cxrlib.prefetch import ahead


def test_results_come_in_order_whatever_finishes_first() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(ahead(lambda n: time.sleep(0.001 * (n % 3)) or n * n, range(30), pool, 8))
    assert results == [(n, n * n) for n in range(30)]


def test_no_more_than_the_depth_is_ever_begun_ahead() -> None:
    begun = 0
    lock = threading.Lock()

    def work(_: int) -> None:
        nonlocal begun
        with lock:
            begun += 1

    with ThreadPoolExecutor(4) as pool:
        for taken, _ in enumerate(ahead(work, range(50), pool, 5), start=1):
            time.sleep(0.0005)
            assert begun <= taken + 5


def test_work_is_under_way_while_the_consumer_is_busy() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        results = ahead(lambda n: done.set() if n == 1 else None, range(3), pool, 2)
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
        results = ahead(work, range(10), pool, 5)
        next(results)
        results.close()
        gate.set()
    assert max(begun) <= 1


def test_an_error_of_the_work_reaches_the_consumer() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ZeroDivisionError):
        list(ahead(lambda n: 1 // n, [1, 0], pool, 2))


def test_a_depth_below_one_is_refused() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="met 0"):
        next(ahead(abs, [1], pool, 0))
