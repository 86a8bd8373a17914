"""Work off the parts of a backfill: several at once, under a lease that is let go for whoever else wants it.

**The lease.** One lease guards a results root under one bundle and one configuration (`cxrlib.runs.lease`). Whoever
works on
a backfill takes it in its own name and runs the parts under it: the parts of one backfill hold different objects, so
two of them share no film and may run at once. It is held only while parts run:

- A run that waits for it (``cxr nightly --wait``) leaves a note. The backfill looks for such notes every few seconds,
  stands down, and comes back when the other has ended, for as long as that takes. Each note makes it stand down once.
- A backfill that is asked to pause stands down and ends; nothing holds the lease while it is paused.
- Whoever works on it may die: its parts' process groups die with it, and the lease is free at once on that machine,
  and on any other after the time to live.

To stand down, parts on the local runner are stopped where they are. That costs the chunks in flight (one for each
worker, a few hundred films at most; two where a batch holds films of both) and one start, and others need not wait for
a part that takes hours. On a cluster no further part is begun and those that run are waited for, since the end of the
process that submitted a job is not the end of the job.

**No work twice.** A part is planned when its turn comes, under the lease, against the ledger: what a nightly run has
settled by then is not planned. If it settles films of a part that was planned and stopped before, that plan is stale;
the part goes on with a new run (``<id>-<part>-2``), which finds in the ledger what the first has settled.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from cxr_pipelines.backfill.progress import Board
from cxr_pipelines.jobs.job import Progress, ScoreJob
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_schemas import BackfillManifest, Manifest
from cxrlib.backfills import stored
from cxrlib.backfills.stored import PartStage, PartState, failed, part_states, unfinished
from cxrlib.errors import BusyError, CxrError, LeaseLostError, RunError, StalePlanError, StoppedError, UsageError
from cxrlib.results.objects import Store
from cxrlib.runs import lease
from cxrlib.runs.lease import Held, LeaseTerms
from cxrlib.runs.lease_context import holding
from cxrlib.runs.lease_waiters import waiters, withdraw
from cxrlib.settings import Settings

_log = logging.getLogger(__name__)
#: Seconds between two looks at whether to pause or to stand aside; each is a listing and a read of the store.
LOOK_EVERY_S: Final = 3.0
#: Seconds for which one who waits may take the lease that was let go for it: more than it sleeps between two looks.
GIVE_WAY_S: Final = 20.0
#: So many parts that fall one after another, none closing between them, end the backfill: the cause is not theirs.
FALLS_IN_A_ROW: Final = 3
_TICK_S: Final = 0.5
_TRY_S: Final = 5.0


class RunPart(Protocol):
    """Scores one part and returns its manifest; stops, by `StoppedError`, when `stop` is set."""

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> Manifest:
        """Score."""


class Ending(StrEnum):
    """How the work on a backfill ended."""

    FINISHED = "finished"
    PAUSED = "paused"


class _StandDown(StrEnum):
    """Why no further part is begun."""

    NOTHING_LEFT = "nothing left"
    PAUSED = "paused"
    WANTED = "wanted"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class PartsWork:
    """What is to be worked off, and how.

    Attributes
    ----------
    store : Store
    manifest : BackfillManifest
    settings : Settings
        Of every part.
    parallel : int
        Parts at once.
    retries : int
        Tries at a part after its first, once all others had theirs.
    retry_delay_s : float
        Least wait before the second try; each further one waits twice as long, all with up to as much again by chance.
    only_failed : bool
        Work off nothing but the parts that fell before or closed with rejects that may heal.
    runner : str
        As a run takes it.
    beam_options : tuple of str
    debug : bool
        Write the traceback of a failure to the log of the process that scores.
    """

    store: Store
    manifest: BackfillManifest
    settings: Settings
    parallel: int = 1
    retries: int = 1
    retry_delay_s: float = 15.0
    only_failed: bool = False
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    debug: bool = False

    @property
    def scope(self) -> str:
        """What the lease is for."""
        return lease.scope_of(self.manifest.partition, self.manifest.config_digest)

    @property
    def local(self) -> bool:
        """Whether a part ends when its process does."""
        return RunnerChoice.parse(self.runner).local


@dataclass(slots=True)
class _Turn:
    """A part that is to be tried: by which of its runs, after how many tries, when, and with how many films settled."""

    part: str
    attempt: int
    tries: int = 0
    settled: int = 0
    not_before: float = 0.0


def work_off(
    work: PartsWork, board: Board, run_part: RunPart, on_tick: Callable[[Board], None] = lambda board: None
) -> Ending:
    """Work off the parts of a backfill until none is left, or it is asked to pause.

    Parts that fell are told on the `board` and stored with the backfill; they do not end it.

    Parameters
    ----------
    work : PartsWork
    board : Board
        Takes note of every part.
    run_part : callable
        Scores one part, in a thread and a context of its own.
    on_tick : callable
        Called in the calling thread about twice a second.

    Raises
    ------
    BusyError
        Another process works on this very backfill.
    RunError
        `FALLS_IN_A_ROW` parts fell one after another.
    """
    return _Worker(work, board, run_part, on_tick).work()


class _Worker:
    def __init__(self, work: PartsWork, board: Board, run_part: RunPart, on_tick: Callable[[Board], None]) -> None:
        self._work = work
        self._board = board
        self._run_part = run_part
        self._on_tick = on_tick
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._honoured: set[str] = set()
        self._falls: list[str] = []
        # Tries since this process began; one more than the retries where a part is not to be begun again by it.
        self._tries: dict[str, int] = {}
        self._wanted: frozenset[str] | None = None

    def work(self) -> Ending:
        while True:
            with self._leased() as held:
                why = _StandDown.PAUSED if held is None else self._session(held)
            if why is _StandDown.PAUSED:
                return Ending.PAUSED
            if why is _StandDown.NOTHING_LEFT:
                return Ending.FINISHED
            if why is _StandDown.WANTED:
                self._stand_aside()

    @contextmanager
    def _leased(self) -> Iterator[Held | None]:
        """Hold the lease, waiting for it as long as it takes; None where the backfill was paused meanwhile."""
        work, backfill_id = self._work, self._work.manifest.backfill_id
        terms = LeaseTerms.of(work.settings.run)
        terms = LeaseTerms(ttl_s=terms.ttl_s, wait_s=0.0, settle_s=terms.settle_s)
        while not stored.is_paused(work.store, backfill_id):
            with contextlib.ExitStack() as stack:
                try:
                    self._lost.clear()
                    self._stop.clear()
                    held = stack.enter_context(
                        holding(work.store, work.scope, backfill_id, terms, on_lost=lambda _: self._lost.set())
                    )
                except BusyError:
                    for claim in lease.standing(work.store, work.scope):
                        if claim.record.run_id == backfill_id:
                            raise
                        self._board.notice(f"waits for run {claim.record.run_id} on {claim.record.host} to end")
                    self._on_tick(self._board)
                    time.sleep(_TRY_S)
                    continue
                self._board.notice("")
                yield held.held
                return
        yield None

    def _session(self, held: Held) -> _StandDown:
        """Run parts until there is a reason to begin no more, and none of them runs."""
        queue = self._queue()
        running: dict[Future[Manifest], _Turn] = {}
        why: _StandDown | None = None
        look_at = 0.0
        with ThreadPoolExecutor(self._work.parallel, thread_name_prefix="part") as pool:
            try:
                while True:
                    if why is None and time.monotonic() >= look_at:
                        why = self._look()
                        look_at = time.monotonic() + LOOK_EVERY_S
                    while why is None and len(running) < self._work.parallel and (turn := _next(queue)):
                        # The context holds Prefect's flow run, where there is one.
                        context = contextvars.copy_context()
                        running[pool.submit(context.run, self._run, turn, held)] = turn
                    if why is not None and (self._work.local or why is _StandDown.LOST):
                        self._stop.set()
                    self._on_tick(self._board)
                    if not running and (why is not None or not queue):
                        return why or _StandDown.NOTHING_LEFT
                    done = wait(running, timeout=_TICK_S, return_when=FIRST_COMPLETED).done
                    if not running:
                        time.sleep(_TICK_S)
                    for future in done:
                        again = self._conclude(running.pop(future), future)
                        if again is not None:
                            queue.append(again)
            finally:
                self._stop.set()  # whatever ends this thread ends the parts; the pool waits for them

    def _queue(self) -> deque[_Turn]:
        states = part_states(self._work.store, self._work.manifest)
        if self._wanted is None:
            wanted = failed(states) if self._work.only_failed else unfinished(states)
            self._wanted = frozenset(state.entry.part for state in wanted)
        return deque(
            _Turn(state.entry.part, _attempt(state), self._tries.get(state.entry.part, 0), _settled(state))
            for state in states
            if state.entry.part in self._wanted and self._tries.get(state.entry.part, 0) <= self._work.retries
        )

    def _look(self) -> _StandDown | None:
        """Return whether there is a reason to stand down."""
        work = self._work
        if self._lost.is_set():
            return _StandDown.LOST
        try:
            if stored.is_paused(work.store, work.manifest.backfill_id):
                return _StandDown.PAUSED
            if any(waiter.token not in self._honoured for waiter in waiters(work.store, work.scope)):
                return _StandDown.WANTED
        except Exception as error:  # fsspec's back ends raise errors of many families; none is a reason to stop
            _log.warning("%s: whether to pause is not known: %s", work.manifest.backfill_id, type(error).__name__)
        return None

    def _run(self, turn: _Turn, held: Held) -> Manifest:
        work = self._work
        self._board.begin(turn.part, turn.settled)
        stored.clear_failure(work.store, work.manifest.backfill_id, turn.part)
        job = ScoreJob.of(
            work.settings,
            sources=(work.store.uri(stored.inventory_key(work.manifest.backfill_id, turn.part)),),
            out=work.store.root,
            run_id=work.manifest.run_id(turn.part, turn.attempt),
            resume=True,
            runner=work.runner,
            beam_options=work.beam_options,
            debug=work.debug,
            under=held,
        )

        def note(progress: Progress) -> None:
            turn.settled = progress.done
            self._board.progress(turn.part, progress.done, progress.total)

        return self._run_part(job, note, self._stop)

    def _conclude(self, turn: _Turn, future: Future[Manifest]) -> _Turn | None:
        """Note what became of a try; return the next one, where there is to be one.

        Raises
        ------
        RunError
            `FALLS_IN_A_ROW` parts fell.
        """
        try:
            manifest = future.result()
        except (StoppedError, LeaseLostError) as error:
            if isinstance(error, LeaseLostError):
                self._lost.set()
            self._board.stop(turn.part)
            return None
        except StalePlanError:
            self._board.stop(turn.part)
            return _Turn(turn.part, turn.attempt + 1, turn.tries)
        except Exception as error:  # whatever it was, the other parts go on
            return self._fell(turn, error)
        self._falls.clear()
        self._tries[turn.part] = self._work.retries + 1
        self._board.close(turn.part, manifest)
        return None

    def _fell(self, turn: _Turn, error: Exception) -> _Turn | None:
        work = self._work
        message = str(error) if isinstance(error, CxrError) else f"{type(error).__name__}: {error}"
        self._board.fall(turn.part, message)
        run_id = work.manifest.run_id(turn.part, turn.attempt)
        with contextlib.suppress(OSError):
            stored.note_failure(work.store, work.manifest.backfill_id, turn.part, run_id, message)
        self._falls.append(turn.part)
        fallen = list(dict.fromkeys(self._falls))
        if len(fallen) >= FALLS_IN_A_ROW:
            raise RunError(
                f"the parts {', '.join(fallen)} fell one after another, and none closed between them; no further one "
                f"was begun; the last said: {message}"
            ) from error
        tries = work.retries + 1 if isinstance(error, UsageError) else turn.tries + 1
        self._tries[turn.part] = tries
        if tries > work.retries:
            return None
        delay = work.retry_delay_s * 2 ** (tries - 1) * random.uniform(1.0, 2.0)  # noqa: S311 - no secret
        return _Turn(turn.part, turn.attempt, tries, turn.settled, time.monotonic() + delay)

    def _stand_aside(self) -> None:
        """Leave the lease for whoever waits, until one has taken it, none waits any more, or they had their time."""
        work = self._work
        wanting = waiters(work.store, work.scope)
        self._honoured.update(waiter.token for waiter in wanting)
        self._board.notice(f"stands aside for run {', '.join(waiter.run_id for waiter in wanting)}")
        until = time.monotonic() + GIVE_WAY_S
        while time.monotonic() < until:
            self._on_tick(self._board)
            if any(lease.is_held(claim) for claim in lease.standing(work.store, work.scope)):
                return
            time.sleep(_TICK_S)
            if not waiters(work.store, work.scope):
                return
        for waiter in wanting:  # of a process on another machine that is gone: it would stop every other backfill once
            withdraw(work.store, work.scope, waiter.token)


def _attempt(state: PartState) -> int:
    """Return which run of a part is to go on: its newest, or one that follows a closed one."""
    return state.attempt + 1 if state.stage is PartStage.DONE else max(1, state.attempt)


def _settled(state: PartState) -> int:
    """Return the films that the run which is to go on has settled."""
    return state.settled or 0 if state.stage is PartStage.BEGUN else 0


def _next(queue: deque[_Turn]) -> _Turn | None:
    """Take the first turn that need not wait any longer."""
    now = time.monotonic()
    for turn in queue:
        if turn.not_before <= now:
            queue.remove(turn)
            return turn
    return None
