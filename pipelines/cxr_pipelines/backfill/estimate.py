"""How long a backfill will take: from the trace of a scored sample to the sum over all parts.

A part takes what its run needs to start and to end, and then a time for each film. Both are measured on a sample, which
is scored exactly as the parts would be: by as many runs at once, in processes of their own. Parts then take their turns
as they will in earnest, so that the last one, which runs alone, counts in full.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True)
class Mark:
    """How many films were done so many seconds after a run was started."""

    seconds: float
    done: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One run over a part of the sample.

    Attributes
    ----------
    marks : tuple of Mark
        Its progress, in order of time.
    seconds : float
        From its start to its end.
    films : int
        That it scored or rejected.
    """

    marks: tuple[Mark, ...]
    seconds: float
    films: int

    @property
    def window(self) -> tuple[Mark, Mark] | None:
        """The first mark with a film done and the last one; None where they are one, so that no pace can be told."""
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
    """What a part costs.

    Attributes
    ----------
    start_s : float
        Seconds to start and to end a run.
    seconds_per_film : float
        While as many parts as are to run at once do.
    """

    start_s: float
    seconds_per_film: float

    def seconds(self, films: int) -> float:
        """Return how long a part with so many films to score takes."""
        return self.start_s + self.seconds_per_film * films


def pace_of(traces: Sequence[Trace]) -> Pace:
    """Return the pace of runs that ran at once.

    A run's first films, which wait for the networks to be loaded, are not in its pace but in its start. Where a trace
    is too short to tell, all of its time is spread over its films: that errs on the long side.
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
        To be scored by each part, in order of work.
    pace : Pace
    parallel : int
        Parts at once; each takes its turn as soon as one has ended.
    ledger_s_per_film : float
        Seconds that a part's plan takes to look at each film which was settled when it is made.
    """
    free = [0.0] * max(1, min(parallel, len(films)))
    settled = 0
    for count in films:
        began = heapq.heappop(free)
        heapq.heappush(free, began + pace.seconds(count) + ledger_s_per_film * settled)
        settled += count
    return max(free)
