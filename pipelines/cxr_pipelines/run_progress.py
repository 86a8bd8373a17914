"""How far a run has come, told while it runs: films counted in this process, chunks counted in the store."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cxrlib.results.objects import Kind, Store
from cxrlib.runs.plan import Chunk

#: Called with the films of the run that are done and the films that it scores.
ProgressCallback = Callable[[int, int], None]

INTERVAL_S: Final = 0.5
#: The store is listed so seldom that it takes at most one part in this many of the time.
LISTING_SHARE: Final = 20
LISTING_S: Final = 5.0

_lock = threading.Lock()
_films: Counter[str] = Counter()


def count(run_id: str) -> None:
    """Count one film of a run as done in this process."""
    with _lock:
        _films[run_id] += 1


def counted(run_id: str) -> int:
    """Return the films of a run that this process counted since they were last forgotten."""
    with _lock:
        return _films[run_id]


def forget(run_id: str) -> None:
    """Set the count of a run back to zero."""
    with _lock:
        _films.pop(run_id, None)


@contextmanager
def reporting(
    callback: ProgressCallback | None, store: Store, partition: str, run_id: str, chunks: Sequence[Chunk]
) -> Iterator[None]:
    """Call `callback` from a thread, while the block runs, whenever more films are done.

    Films that other processes do are seen once their chunk is settled.
    """
    forget(run_id)
    if callback is None:
        yield
        return
    stop = threading.Event()
    films = {chunk.chunk_id: chunk.films for chunk in chunks}

    def stored() -> int | None:
        """Return the films whose chunk is settled, or None where the store does not answer: it may the next time."""
        try:
            return sum(films.get(chunk_id, 0) for chunk_id in store.chunks(Kind.SCORES, partition))
        except Exception:  # whatever a store's own library raises; who reads and writes films tells of it
            return None

    def here() -> int:
        return counted(run_id)

    watcher = threading.Thread(
        target=_watch, args=(callback, sum(films.values()), stored, here, stop), name="progress", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        forget(run_id)


def _watch(
    callback: ProgressCallback,
    total: int,
    stored: Callable[[], int | None],
    here: Callable[[], int],
    stop: threading.Event,
) -> None:
    before = settled = stored() or 0
    told = -1
    listed_at, pause = time.monotonic(), LISTING_S
    while True:
        ended = stop.wait(INTERVAL_S)
        if ended or time.monotonic() - listed_at > pause:
            started = time.monotonic()
            settled = stored() or settled
            listed_at = time.monotonic()
            pause = max(LISTING_S, LISTING_SHARE * (listed_at - started))
        done = min(total, max(settled, before + here()))
        if done > told:
            callback(done, total)
            told = done
        if ended:
            return
