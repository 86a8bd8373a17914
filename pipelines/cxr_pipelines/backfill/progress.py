"""The progress of a backfill's parts, for a live table, a log and an artifact."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from cxr_schemas import PartEntry, RunManifest
from cxrlib.backfills.stored import PartStage, PartState


class PartStatus(StrEnum):
    """The status of a part now. An `OPEN` part was started earlier and waits to be resumed."""

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
    status : PartStatus
    left : int
        Objects without an outcome.
    worked : int
        Films done since the board was created.
    seconds : float
        Time for which the part has run since then.
    note : str
        Why its last try failed, or the counts of its closed run.
    """

    entry: PartEntry
    status: PartStatus
    left: int
    worked: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def done(self) -> int:
        """Objects with an outcome."""
        return self.entry.objects - self.left

    @property
    def films_per_second(self) -> float:
        """Films per second while the part ran."""
        return self.worked / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class BoardSnapshot:
    """All parts at one moment.

    Attributes
    ----------
    lines : tuple of PartLine
        In the order of work.
    seconds : float
        Time in which any part ran since the board was created.
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
        """Objects without an outcome."""
        return sum(line.left for line in self.lines)

    @property
    def films_per_second(self) -> float:
        """Films per second over all parts, including the starts and ends of their runs."""
        return sum(line.worked for line in self.lines) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time left at this speed; None while the speed is unknown."""
        return self.left / self.films_per_second if self.films_per_second else None

    @property
    def percent(self) -> float:
        """Objects with an outcome, in percent."""
        return 100.0 * (self.objects - self.left) / self.objects if self.objects else 100.0

    def count(self, status: PartStatus) -> int:
        """Return the number of parts with a status."""
        return Counter(line.status for line in self.lines)[status]


class ProgressBoard:
    """Records the progress of each part. Any thread may call it.

    Parameters
    ----------
    states : sequence of PartState
        Initial states of the parts.
    now : callable
        A clock in seconds.
    """

    def __init__(self, states: Sequence[PartState], now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._lines = {state.entry.part: _line(state) for state in states}
        self._began: dict[str, float] = {}
        # For each started part: films that its run had settled, and its `worked`, when it started.
        self._before: dict[str, tuple[int, int]] = {}
        self._busy_since: float | None = None
        self._busy_s = 0.0
        self._notice = ""

    def begin(self, part: str, settled: int = 0) -> None:
        """Record that a part runs. Its run settled `settled` films before, which do not count as work of this start."""
        with self._lock:
            now = self._now()
            self._lines[part] = replace(self._lines[part], status=PartStatus.RUNNING, note="")
            self._began[part] = now
            self._before[part] = (settled, self._lines[part].worked)
            if self._busy_since is None:
                self._busy_since = now

    def progress(self, part: str, done: int, total: int) -> None:
        """Record that `done` of the `total` films of a part's run are done."""
        with self._lock:
            settled, worked = self._before[part]
            self._lines[part] = replace(self._lines[part], left=total - done, worked=worked + max(0, done - settled))

    def close(self, part: str, manifest: RunManifest) -> None:
        """Record that a part's run is closed."""
        note = f"{manifest.counts.scored} scored, {manifest.counts.rejected} rejected"
        if manifest.retryable:
            note += f" ({manifest.retryable} retryable)"
        self._end(part, PartStatus.DONE, note, left=0)

    def fail(self, part: str, message: str) -> None:
        """Record that a try at a part failed."""
        self._end(part, PartStatus.FAILED, message)

    def stop(self, part: str) -> None:
        """Record that a part was stopped and will be resumed."""
        self._end(part, PartStatus.OPEN, "")

    def notice(self, text: str) -> None:
        """Record what the backfill waits for; empty while it works."""
        with self._lock:
            self._notice = text

    def snapshot(self) -> BoardSnapshot:
        """Return all parts as they are now."""
        with self._lock:
            now = self._now()
            lines = tuple(
                replace(line, seconds=line.seconds + now - self._began[part]) if part in self._began else line
                for part, line in self._lines.items()
            )
            busy = self._busy_s + (0.0 if self._busy_since is None else now - self._busy_since)
            return BoardSnapshot(lines, busy, self._notice)

    def _end(self, part: str, status: PartStatus, note: str, left: int | None = None) -> None:
        with self._lock:
            now = self._now()
            line = self._lines[part]
            ran = now - self._began.pop(part)
            left = line.left if left is None else left
            self._lines[part] = replace(line, status=status, note=note, left=left, seconds=line.seconds + ran)
            if not self._began and self._busy_since is not None:
                self._busy_s += now - self._busy_since
                self._busy_since = None


def _line(state: PartState) -> PartLine:
    entry = state.entry
    if state.stage is PartStage.DONE:
        return PartLine(entry, PartStatus.DONE, 0, note="closed before")
    if state.failure is not None:
        return PartLine(entry, PartStatus.FAILED, _left(state), note=state.failure.message)
    return PartLine(entry, PartStatus.WAITING if state.stage is PartStage.WAITING else PartStatus.OPEN, _left(state))


def _left(state: PartState) -> int:
    if state.to_score is None or state.settled is None:
        return state.entry.objects
    return state.to_score - state.settled
