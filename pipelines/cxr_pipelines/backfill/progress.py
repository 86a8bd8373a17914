"""How the parts of a backfill stand, as whoever works on them sees it: for a live table, a log and an artifact."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from cxr_schemas import Manifest, PartEntry
from cxrlib.backfills.stored import PartStage, PartState


class Look(StrEnum):
    """What a part is doing now; `OPEN` was begun, by an earlier start, and waits to be taken up again."""

    WAITING = "waiting"
    OPEN = "open"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class PartLine:
    """One part on the board.

    Attributes
    ----------
    entry : PartEntry
    look : Look
    left : int
        Objects that have no outcome yet.
    worked : int
        Films that were worked on since the board was set up.
    seconds : float
        That the part has run since then.
    note : str
        Why it fell, or what it closed with.
    """

    entry: PartEntry
    look: Look
    left: int
    worked: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def done(self) -> int:
        """Objects that have an outcome."""
        return self.entry.objects - self.left

    @property
    def films_per_second(self) -> float:
        """Films a second while the part ran."""
        return self.worked / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class BoardView:
    """All parts at one moment.

    Attributes
    ----------
    lines : tuple of PartLine
        In order of work.
    seconds : float
        In which parts ran since the board was set up.
    notice : str
        What the backfill waits for, or empty.
    """

    lines: tuple[PartLine, ...]
    seconds: float
    notice: str = ""

    @property
    def objects(self) -> int:
        """Objects of all parts."""
        return sum(line.entry.objects for line in self.lines)

    @property
    def left(self) -> int:
        """Objects that have no outcome yet."""
        return sum(line.left for line in self.lines)

    @property
    def films_per_second(self) -> float:
        """Films a second over all parts that ran at once, starts and ends of runs included."""
        return sum(line.worked for line in self.lines) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at this speed; None while nothing is known of it."""
        return self.left / self.films_per_second if self.films_per_second else None

    @property
    def percent(self) -> float:
        """Objects that have an outcome, in percent."""
        return 100.0 * (self.objects - self.left) / self.objects if self.objects else 100.0

    def count(self, look: Look) -> int:
        """Parts that look so."""
        return Counter(line.look for line in self.lines)[look]


class Board:
    """Takes note of what becomes of each part, from any thread.

    Parameters
    ----------
    states : sequence of PartState
        How the parts stand to begin with.
    now : callable
        A clock in seconds.
    """

    def __init__(self, states: Sequence[PartState], now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._lines = {state.entry.part: _line(state) for state in states}
        self._began: dict[str, float] = {}
        # By part that was begun: films of its run that were done before, and its `worked` then.
        self._before: dict[str, tuple[int, int]] = {}
        self._busy_since: float | None = None
        self._busy_s = 0.0
        self._notice = ""

    def begin(self, part: str, settled: int = 0) -> None:
        """Note that a part runs; `settled` films of its run were done before, and are no work of this start."""
        with self._lock:
            now = self._now()
            self._lines[part] = replace(self._lines[part], look=Look.RUNNING, note="")
            self._began[part] = now
            self._before[part] = (settled, self._lines[part].worked)
            if self._busy_since is None:
                self._busy_since = now

    def progress(self, part: str, done: int, total: int) -> None:
        """Note that `done` of the `total` films that a part's run scores are done."""
        with self._lock:
            settled, worked = self._before[part]
            self._lines[part] = replace(self._lines[part], left=total - done, worked=worked + max(0, done - settled))

    def close(self, part: str, manifest: Manifest) -> None:
        """Note that a part's run is closed."""
        said = f"{manifest.counts.scored} scored, {manifest.counts.rejected} rejected"
        if manifest.retryable:
            said += f" ({manifest.retryable} may heal)"
        self._end(part, Look.DONE, said, left=0)

    def fall(self, part: str, message: str) -> None:
        """Note that a try at a part fell."""
        self._end(part, Look.FAILED, message)

    def stop(self, part: str) -> None:
        """Note that a part was stopped, and is to be taken up again."""
        self._end(part, Look.OPEN, "")

    def notice(self, text: str) -> None:
        """Say what the backfill waits for; empty where it works."""
        with self._lock:
            self._notice = text

    def view(self) -> BoardView:
        """Return how all stands now."""
        with self._lock:
            now = self._now()
            lines = tuple(
                replace(line, seconds=line.seconds + now - self._began[part]) if part in self._began else line
                for part, line in self._lines.items()
            )
            busy = self._busy_s + (0.0 if self._busy_since is None else now - self._busy_since)
            return BoardView(lines, busy, self._notice)

    def _end(self, part: str, look: Look, note: str, left: int | None = None) -> None:
        with self._lock:
            now = self._now()
            line = self._lines[part]
            ran = now - self._began.pop(part)
            left = line.left if left is None else left
            self._lines[part] = replace(line, look=look, note=note, left=left, seconds=line.seconds + ran)
            if not self._began and self._busy_since is not None:
                self._busy_s += now - self._busy_since
                self._busy_since = None


def _line(state: PartState) -> PartLine:
    entry = state.entry
    if state.stage is PartStage.DONE:
        return PartLine(entry, Look.DONE, 0, note="closed before")
    if state.failure is not None:
        return PartLine(entry, Look.FAILED, _left(state), note=state.failure.message)
    return PartLine(entry, Look.WAITING if state.stage is PartStage.WAITING else Look.OPEN, _left(state))


def _left(state: PartState) -> int:
    if state.to_score is None or state.settled is None:
        return state.entry.objects
    return state.to_score - state.settled
