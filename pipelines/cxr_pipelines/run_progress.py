"""Report the progress of a run while it scores: films are counted in this process, settled chunks in the store."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cxrlib.results.layout import RowKind
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.plan import Chunk

#: Called with the number of the run's films that are done, and the number that it scores.
ProgressCallback = Callable[[int, int], None]

INTERVAL_S: Final = 0.5
#: Listing the store takes at most one part in `LISTING_SHARE` of the time, and happens at most every `LISTING_S`
#: seconds.
LISTING_SHARE: Final = 20
LISTING_S: Final = 5.0

_lock = threading.Lock()
_films: Counter[str] = Counter()


def count_film(run_id: str) -> None:
    """Count one film of a run as done in this process."""
    with _lock:
        _films[run_id] += 1


def films_counted(run_id: str) -> int:
    """Return the films of a run that this process has counted since the last `reset_count`."""
    with _lock:
        return _films[run_id]


def reset_count(run_id: str) -> None:
    """Set the count of a run to zero."""
    with _lock:
        _films.pop(run_id, None)


@contextmanager
def reporting(
    callback: ProgressCallback | None, results: ResultsRoot, partition: str, run_id: str, chunks: Sequence[Chunk]
) -> Iterator[None]:
    """While the block runs, call `callback` from a thread whenever more films are done.

    Films of other processes count when their chunk is settled.
    """
    reset_count(run_id)
    if callback is None:
        yield
        return
    stop = threading.Event()
    films = {chunk.chunk_id: chunk.films for chunk in chunks}

    def settled_films() -> int | None:
        """Return the films of all settled chunks; None if the store did not answer this time."""
        try:
            return sum(films.get(chunk_id, 0) for chunk_id in results.chunks(RowKind.SCORES, partition))
        except Exception:  # stores raise errors of many libraries; the steps that read and write films report them
            return None

    def films_here() -> int:
        return films_counted(run_id)

    watcher = threading.Thread(
        target=_watch,
        args=(callback, sum(films.values()), settled_films, films_here, stop),
        name="progress",
        daemon=True,
    )
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
        reset_count(run_id)


def _watch(
    callback: ProgressCallback,
    total: int,
    settled_films: Callable[[], int | None],
    films_here: Callable[[], int],
    stop: threading.Event,
) -> None:
    before = settled = settled_films() or 0
    reported = -1
    listed_at, pause = time.monotonic(), LISTING_S
    while True:
        ended = stop.wait(INTERVAL_S)
        if ended or time.monotonic() - listed_at > pause:
            started = time.monotonic()
            settled = settled_films() or settled
            listed_at = time.monotonic()
            pause = max(LISTING_S, LISTING_SHARE * (listed_at - started))
        done = min(total, max(settled, before + films_here()))
        if done > reported:
            callback(done, total)
            reported = done
        if ended:
            return
