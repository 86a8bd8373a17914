"""Score the parts of a backfill, several at once, under a lease that is released for other runs that wait.

**The lease.** One lease guards a results root under one bundle and one configuration (`cxrlib.runs.lease`). The process
that works on a backfill holds it in the backfill's name, and runs the parts under it. The parts hold different objects,
so they can run at once. The lease is held only while parts run:

- A run that waits for the lease (``cxr nightly --wait``) leaves a note. The backfill checks for notes every few
  seconds, stops its parts, releases the lease, and continues when the other run has ended. Each note stops it once.
- A backfill that is asked to pause stops its parts and ends. A paused backfill holds no lease.
- If the process dies, the process groups of its parts die with it. The lease is free at once on that machine, and on
  any other machine after the time to live.

On the local runner, running parts are stopped at once, so that nobody waits for a part that takes hours. Stopping loses
at most two chunks per worker (a few hundred films each), plus one start-up. On a cluster, running parts are awaited and
no further part starts, because a job does not end with the process that submitted it.

**No settled film is scored twice.** A part is planned when its run starts, under the lease, against the ledger. Films
that a nightly run settled before are not planned. If a nightly run settles films of a part that was planned and
stopped, that plan is stale. A new run (``<id>-<part>-2``) then scores the rest, and finds in the ledger what the first
has settled.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from enum import Enum, auto
from typing import Final

from cxr_pipelines.backfill.part_queue import PartQueue, PartTry, message_of
from cxr_pipelines.backfill.progress import ProgressBoard
from cxr_pipelines.backfill.work import BackfillWork, Ending, RunPart
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_schemas import RunManifest
from cxrlib.backfills import stored
from cxrlib.errors import BusyError, LeaseLostError, StalePlanError, StoppedError
from cxrlib.results import layout
from cxrlib.runs import lease_chain
from cxrlib.runs.lease import LeaseTerms
from cxrlib.runs.lease_chain import Claim
from cxrlib.runs.lease_context import hold_lease
from cxrlib.runs.lease_waiters import waiters, withdraw

_log = logging.getLogger(__name__)
#: Seconds between two checks for a pause or a waiting run; each check lists and reads the store.
CHECK_EVERY_S: Final = 3.0
#: Seconds for which a waiting run may take the released lease: longer than it sleeps between two tries.
YIELD_S: Final = 20.0
_TICK_S: Final = 0.5
_LEASE_RETRY_S: Final = 5.0


class _StopReason(Enum):
    """Why no further part is started."""

    NOTHING_LEFT = auto()
    PAUSED = auto()
    RUN_WAITS = auto()
    LEASE_LOST = auto()


def run_parts(
    work: BackfillWork,
    board: ProgressBoard,
    run_part: RunPart,
    on_tick: Callable[[ProgressBoard], None] = lambda board: None,
) -> Ending:
    """Score the parts of a backfill until none is left or the backfill is asked to pause.

    Failed parts are shown on the `board` and stored with the backfill. They do not end it.

    Parameters
    ----------
    work : BackfillWork
    board : ProgressBoard
        Records the progress of every part.
    run_part : callable
        Scores one part. It is called in a thread and a context of its own.
    on_tick : callable
        Called in the calling thread about twice a second.

    Raises
    ------
    BusyError
        Another process works on the same backfill.
    RunError
        `cxr_pipelines.backfill.part_queue.FAILURES_IN_A_ROW` parts failed in a row.
    """
    return _Scheduler(work, board, run_part, on_tick).run()


class _Scheduler:
    def __init__(
        self, work: BackfillWork, board: ProgressBoard, run_part: RunPart, on_tick: Callable[[ProgressBoard], None]
    ) -> None:
        self._work = work
        self._board = board
        self._run_part = run_part
        self._on_tick = on_tick
        self._queue = PartQueue(work)
        self._stop = threading.Event()
        self._lost = threading.Event()
        # Notes of waiting runs for which the lease was released already.
        self._answered: set[str] = set()

    def run(self) -> Ending:
        while True:
            with self._leased() as held:
                reason = _StopReason.PAUSED if held is None else self._session(held)
            if reason is _StopReason.PAUSED:
                return Ending.PAUSED
            if reason is _StopReason.NOTHING_LEFT:
                return Ending.FINISHED
            if reason is _StopReason.RUN_WAITS:
                self._let_others_run()

    @contextmanager
    def _leased(self) -> Iterator[Claim | None]:
        """Wait for the lease and hold it; yield None if the backfill was paused meanwhile."""
        work, backfill_id = self._work, self._work.manifest.backfill_id
        terms = LeaseTerms.of(work.settings.run)
        terms = LeaseTerms(ttl_s=terms.ttl_s, wait_s=0.0, settle_s=terms.settle_s)
        while not stored.is_paused(work.results, backfill_id):
            with contextlib.ExitStack() as stack:
                try:
                    self._lost.clear()
                    self._stop.clear()
                    held = stack.enter_context(
                        hold_lease(work.results, work.scope, backfill_id, terms, on_lost=lambda _: self._lost.set())
                    )
                except BusyError:
                    for claim in lease_chain.current_claims(work.results, work.scope):
                        if claim.record.run_id == backfill_id:
                            raise
                        self._board.notice(f"waits for run {claim.record.run_id} on {claim.record.host} to end")
                    self._on_tick(self._board)
                    time.sleep(_LEASE_RETRY_S)
                    continue
                self._board.notice("")
                yield held.claim
                return
        yield None

    def _session(self, held: Claim) -> _StopReason:
        """Run parts under one lease until there is a reason to start no more and none of them runs."""
        self._queue.fill()
        running: dict[Future[RunManifest], PartTry] = {}
        reason: _StopReason | None = None
        check_at = 0.0
        with ThreadPoolExecutor(self._work.parallel, thread_name_prefix="part") as pool:
            try:
                while True:
                    if reason is None and time.monotonic() >= check_at:
                        reason = self._reason_to_stop()
                        check_at = time.monotonic() + CHECK_EVERY_S
                    while reason is None and len(running) < self._work.parallel and (one := self._queue.take()):
                        # The copied context holds Prefect's flow run, if there is one.
                        context = contextvars.copy_context()
                        running[pool.submit(context.run, self._run, one, held)] = one
                    if reason is not None and (self._work.local or reason is _StopReason.LEASE_LOST):
                        self._stop.set()
                    self._on_tick(self._board)
                    if not running and (reason is not None or not self._queue):
                        return reason or _StopReason.NOTHING_LEFT
                    done = wait(running, timeout=_TICK_S, return_when=FIRST_COMPLETED).done
                    if not running:
                        time.sleep(_TICK_S)
                    for future in done:
                        self._conclude(running.pop(future), future)
            finally:
                self._stop.set()  # an error in this thread stops the parts; the pool then waits for them

    def _reason_to_stop(self) -> _StopReason | None:
        work = self._work
        if self._lost.is_set():
            return _StopReason.LEASE_LOST
        try:
            if stored.is_paused(work.results, work.manifest.backfill_id):
                return _StopReason.PAUSED
            if any(waiter.token not in self._answered for waiter in waiters(work.results, work.scope)):
                return _StopReason.RUN_WAITS
        except Exception as error:  # stores raise errors of many libraries; none is a reason to stop
            _log.warning(
                "%s: the check for a pause or a waiting run failed: %s",
                work.manifest.backfill_id,
                type(error).__name__,
            )
        return None

    def _run(self, one: PartTry, held: Claim) -> RunManifest:
        work = self._work
        self._board.begin(one.part, one.settled)
        stored.clear_failure(work.results, work.manifest.backfill_id, one.part)
        job = ScoreJob.of(
            work.settings,
            sources=(work.results.uri(layout.inventory_key(work.manifest.backfill_id, one.part)),),
            out=work.results.root,
            run_id=work.manifest.run_id(one.part, one.attempt),
            resume=True,
            runner=work.runner,
            beam_options=work.beam_options,
            debug=work.debug,
            held_lease=held,
        )

        def note(progress: Progress) -> None:
            one.settled = progress.done
            self._board.progress(one.part, progress.done, progress.total)

        return self._run_part(job, note, self._stop)

    def _conclude(self, one: PartTry, future: Future[RunManifest]) -> None:
        """Record the result of a try, and queue the next try of its part if there is one."""
        try:
            manifest = future.result()
        except (StoppedError, LeaseLostError) as error:
            if isinstance(error, LeaseLostError):
                self._lost.set()
            self._board.stop(one.part)
        except StalePlanError:
            self._board.stop(one.part)
            self._queue.plan_again(one)
        except Exception as error:  # whatever the error, the other parts continue
            message = message_of(error)
            self._board.fail(one.part, message)
            self._queue.failed(one, error, message)
        else:
            self._queue.closed(one)
            self._board.close(one.part, manifest)

    def _let_others_run(self) -> None:
        """Wait until another run has taken the released lease, or no run waits any more, or `YIELD_S` have passed."""
        work = self._work
        waiting = waiters(work.results, work.scope)
        self._answered.update(waiter.token for waiter in waiting)
        self._board.notice(f"lets run {', '.join(waiter.run_id for waiter in waiting)} go first")
        until = time.monotonic() + YIELD_S
        while time.monotonic() < until:
            self._on_tick(self._board)
            if any(lease_chain.is_held(claim) for claim in lease_chain.current_claims(work.results, work.scope)):
                return
            time.sleep(_TICK_S)
            if not waiters(work.results, work.scope):
                return
        # Delete the notes of waiters that are gone. Otherwise each backfill would pause for them once.
        for waiter in waiting:
            withdraw(work.results, work.scope, waiter.token)
