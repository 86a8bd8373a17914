"""A part that is planned, settled and closed as ever, by a loop in place of Beam and a reject in place of a network.

What a backfill does around its runs is tested by it in a tenth of the time that a pipeline takes to start.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cxr_pipelines.jobs.job import Progress, ScoreJob
from cxr_schemas import Manifest, Reason
from cxrlib.errors import LeaseLostError, StoppedError
from cxrlib.results.objects import Store
from cxrlib.results.row_tables import RejectedFilm
from cxrlib.runs import lease
from cxrlib.runs.chunks import settle
from cxrlib.runs.plan import open_chunk
from cxrlib.runs.run import close_run, read_manifest, resume_run, start_run
from cxrlib.settings import Settings
from tests.support.fakes import fake_bundle


@dataclass(frozen=True)
class PlainPart:
    """Settles a part's films as rejects, `seconds_per_film` each, and writes the name of each to `log`."""

    seconds_per_film: float = 0.0
    log: Path | None = None

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> Manifest:
        """Settle, until `stop` is set."""
        store, settings, bundle = Store.at(job.out), Settings(**job.settings), fake_bundle()
        if job.under is None:
            raise LeaseLostError(f"{job.run_id}: a part works under the lease of its backfill")
        lease.check(store, job.under)
        run = resume_run(job.sources, store, settings, bundle, job.run_id)
        if run is None:
            run = start_run(job.sources, store, settings, bundle, job.run_id)
        elif closed := read_manifest(store, job.run_id):
            return closed
        total, unsettled = sum(chunk.films for chunk in run.chunks), run.unsettled()
        done = total - sum(chunk.films for chunk in unsettled)
        for chunk in unsettled:
            rejects = []
            for ref in open_chunk(store.uri(store.plan_key(job.run_id)), chunk):
                time.sleep(self.seconds_per_film)
                if stop.is_set():
                    raise StoppedError(f"run {job.run_id} was stopped")
                if self.log is not None:
                    with self.log.open("a") as file:
                        file.write(f"{ref.uri}\n")
                rejects.append(RejectedFilm(ref, Reason.TRUNCATED, "expected a film; got a test"))
            settle(store, run.header.partition, chunk, rejects, run.provenance)
            done += chunk.films
            on_progress(Progress(done=done, total=total))
        lease.check(store, job.under)
        return close_run(run, runner="plain", settled_here=len(unsettled), films_here=total, seconds=1.0)
