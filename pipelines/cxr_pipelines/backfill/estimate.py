"""Estimate how long a backfill takes: measure the pace of a scored sample, then add up all parts.

A part takes a fixed time to start and to end its run, and a time for each film. Both are measured on a sample, which is
scored like the parts: by as many runs at once, in processes of their own. The parts are then scheduled as in the
backfill, so that the last one, which runs alone, counts in full.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True)
class ProgressMark:
    """The number of films done, and the seconds since the start of the run."""

    seconds: float
    done: int


@dataclass(frozen=True, slots=True)
class RunTrace:
    """One run over a share of the sample.

    Attributes
    ----------
    marks : tuple of ProgressMark
        Its progress, in order of time.
    seconds : float
        From its start to its end.
    films : int
        Films that it scored or rejected.
    """

    marks: tuple[ProgressMark, ...]
    seconds: float
    films: int

    @property
    def window(self) -> tuple[ProgressMark, ProgressMark] | None:
        """The first mark with a film done, and the last mark; None if they are the same, so that no pace is known."""
        got = [mark for mark in self.marks if mark.done > 0]
        if not got or got[-1].done <= got[0].done or got[-1].seconds <= got[0].seconds:
            return None
        last = next(mark for mark in got if mark.done == got[-1].done)
        return got[0], last

    @property
    def window_s(self) -> float:
        """Seconds between the two marks of the window."""
        return 0.0 if self.window is None else self.window[1].seconds - self.window[0].seconds


@dataclass(frozen=True, slots=True)
class Pace:
    """The time that a part takes.

    Attributes
    ----------
    start_s : float
        Seconds to start and to end a run.
    seconds_per_film : float
        Seconds per film, while the planned number of parts run at once.
    """

    start_s: float
    seconds_per_film: float

    def seconds(self, films: int) -> float:
        """Return the seconds that a part with `films` films to score takes."""
        return self.start_s + self.seconds_per_film * films


def pace_of(traces: Sequence[RunTrace]) -> Pace:
    """Return the mean pace of runs that ran at once.

    The first films of a run wait for the networks to load. They count as part of its start, not of its pace. If a trace
    is too short to separate the two, its whole time is spread over its films, which overestimates.
    """
    paces = []
    for trace in traces:
        if trace.window is None:
            paces.append(Pace(0.0, trace.seconds / max(1, trace.films)))
            continue
        first, last = trace.window
        per_film = (last.seconds - first.seconds) / (last.done - first.done)
        paces.append(Pace(max(0.0, trace.seconds - per_film * trace.films), per_film))
    return Pace(fmean(pace.start_s for pace in paces), fmean(pace.seconds_per_film for pace in paces))


def duration(films: Sequence[int], pace: Pace, *, parallel: int, ledger_s_per_film: float = 0.0) -> float:
    """Return the seconds from the start of the first part to the end of the last.

    Parameters
    ----------
    films : sequence of int
        Films to score in each part, in the order of work.
    pace : Pace
    parallel : int
        Parts at once. A part starts as soon as another has ended.
    ledger_s_per_film : float
        Seconds that the plan of a part takes for each film that is settled by then.
    """
    free = [0.0] * max(1, min(parallel, len(films)))
    settled = 0
    for count in films:
        began = heapq.heappop(free)
        heapq.heappush(free, began + pace.seconds(count) + ledger_s_per_film * settled)
        settled += count
    return max(free)
