"""The queue of parts: which part is next, which are retried, and when failures in a row end the backfill."""

from __future__ import annotations

import contextlib
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

from cxr_pipelines.backfill.work import BackfillWork
from cxrlib.backfills import stored
from cxrlib.backfills.stored import PartStage, PartState, failed_parts, part_states, unfinished_parts
from cxrlib.errors import CxrError, RunError, UsageError

#: Number of different parts that may fail in a row, without a part that closes between them. Then the backfill ends,
#: because the cause is not in the parts.
FAILURES_IN_A_ROW: Final = 3


@dataclass(slots=True)
class PartTry:
    """A try at a part.

    Attributes
    ----------
    part : str
    attempt : int
        Number of the part's run that this try starts or resumes.
    tries : int
        Failed tries before this one.
    settled : int
        Films that the run has settled already.
    not_before : float
        Earliest start, by `time.monotonic`.
    """

    part: str
    attempt: int
    tries: int = 0
    settled: int = 0
    not_before: float = 0.0


class PartQueue:
    """The parts of a backfill that this process still has to try.

    Parameters
    ----------
    work : BackfillWork
    """

    def __init__(self, work: BackfillWork) -> None:
        self._work = work
        self._queue: deque[PartTry] = deque()
        self._failures: list[str] = []
        # Tries of each part in this process; one more than the retries for a part that it must not try again.
        self._tries: dict[str, int] = {}
        self._selected: frozenset[str] | None = None

    def __bool__(self) -> bool:
        """Whether a part is left to try, now or later."""
        return bool(self._queue)

    def fill(self) -> None:
        """Fill the queue from the stored states of the parts."""
        states = part_states(self._work.results, self._work.manifest)
        if self._selected is None:
            selected = failed_parts(states) if self._work.only_failed else unfinished_parts(states)
            self._selected = frozenset(state.entry.part for state in selected)
        self._queue = deque(
            PartTry(state.entry.part, _attempt(state), self._tries.get(state.entry.part, 0), _settled(state))
            for state in states
            if state.entry.part in self._selected and self._tries.get(state.entry.part, 0) <= self._work.retries
        )

    def take(self) -> PartTry | None:
        """Remove and return the first try that need not wait; None if there is none now."""
        now = time.monotonic()
        for one in self._queue:
            if one.not_before <= now:
                self._queue.remove(one)
                return one
        return None

    def closed(self, one: PartTry) -> None:
        """Note that the run of a try closed."""
        self._failures.clear()
        self._tries[one.part] = self._work.retries + 1

    def plan_again(self, one: PartTry) -> None:
        """Queue a new run of the part, because the plan of its last run is stale."""
        self._queue.append(PartTry(one.part, one.attempt + 1, one.tries))

    def failed(self, one: PartTry, error: Exception, message: str) -> None:
        """Store that a try failed, and queue the next try if the part has one left.

        Raises
        ------
        RunError
            `FAILURES_IN_A_ROW` parts failed.
        """
        work = self._work
        run_id = work.manifest.run_id(one.part, one.attempt)
        with contextlib.suppress(OSError):
            stored.store_failure(work.results, work.manifest.backfill_id, one.part, run_id, message)
        self._failures.append(one.part)
        parts = list(dict.fromkeys(self._failures))
        if len(parts) >= FAILURES_IN_A_ROW:
            raise RunError(
                f"the parts {', '.join(parts)} failed in a row, and no part closed between them; no further part was "
                f"started; the last error: {message}"
            ) from error
        tries = work.retries + 1 if isinstance(error, UsageError) else one.tries + 1
        self._tries[one.part] = tries
        if tries <= work.retries:
            delay = work.retry_delay_s * 2 ** (tries - 1) * random.uniform(1.0, 2.0)  # noqa: S311 - no secret
            self._queue.append(PartTry(one.part, one.attempt, tries, one.settled, time.monotonic() + delay))


def message_of(error: Exception) -> str:
    """Return the message of an error; a foreign one is preceded by its class name."""
    return str(error) if isinstance(error, CxrError) else f"{type(error).__name__}: {error}"


def _attempt(state: PartState) -> int:
    """Return the number of the run to start or resume: the newest one, or the next if that is closed."""
    return state.attempt + 1 if state.stage is PartStage.DONE else max(1, state.attempt)


def _settled(state: PartState) -> int:
    """Return the number of films that the run to resume has settled."""
    return state.settled or 0 if state.stage is PartStage.BEGUN else 0
