"""Small backfills whose parts run in the test's own process: scored by a fake engine, or rejected by a loop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_pipelines.backfill.work import BackfillWork
from cxr_pipelines.jobs.messages import Progress, ScoreJob
from cxr_pipelines.score import score
from cxr_schemas import BackfillManifest, Cut, CutBy, Reason, RunManifest
from cxrlib.backfills.create import BackfillRequest, start_backfill
from cxrlib.errors import FilmError, LeaseLostError, StoppedError
from cxrlib.results import layout
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import lease
from cxrlib.runs.chunks import settle
from cxrlib.runs.plan import open_chunk
from cxrlib.runs.run import close_run, read_manifest, resume_run, start_run
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Prediction, RejectedFilm
from tests.support.fakes import FakeEngine, fake_bundle, fake_settings, film_png

SETTINGS = fake_settings(chunk_size=4)
#: The stop event of each run. Engines look it up here, because Beam copies its arguments and nobody sets a copy.
_stops: dict[str, threading.Event] = {}


def write_films_by_year(root: Path, years: Sequence[int], films: int) -> Path:
    """Write `films` different films into a folder for each year."""
    for year in years:
        for number in range(films):
            path = root / str(year) / f"film{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(film_png(year * 10_000 + number))
    return root


def new_backfill(
    archive: Path, out: Path, *, cut: Cut | None = None, settings: Settings = SETTINGS
) -> BackfillManifest:
    """Create a backfill called ``b``, cut by year unless `cut` says otherwise."""
    request = BackfillRequest("b", (str(archive),), cut or Cut(by=CutBy.YEAR), settings)
    return start_backfill(ResultsRoot.at(str(out)), request, fake_bundle())


def work_on(manifest: BackfillManifest, out: Path, **changes: object) -> BackfillWork:
    """Return the work on a backfill; a failed part is retried without delay."""
    options = {"settings": SETTINGS, "retry_delay_s": 0.0, **changes}
    return BackfillWork(ResultsRoot.at(str(out)), manifest, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScoreInProcess:
    """Scores a part through Beam with the fake engine, which sleeps `seconds_per_film` for each film."""

    seconds_per_film: float = 0.0
    log: Path | None = None

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        """Score the part; raise `StoppedError` when `stop` is set."""
        _stops[job.run_id] = stop
        try:
            return score(
                job.sources,
                job.out,
                Settings(**job.settings),
                run_id=job.run_id,
                resume=job.resume,
                runner=job.runner,
                bundle=fake_bundle(),
                engine=_EngineFactory(job.run_id, self),
                held_lease=job.held_lease,
                progress=lambda done, total: on_progress(Progress(done=done, total=total)),
            )
        except RuntimeError as error:  # Beam wraps every error of its workers in a RuntimeError
            if stop.is_set():
                raise StoppedError(f"run {job.run_id} was stopped") from error
            raise


@dataclass(frozen=True)
class _EngineFactory:
    run_id: str
    options: ScoreInProcess

    def __call__(self) -> _StoppableEngine:
        """Make the engine."""
        return _StoppableEngine(_stops[self.run_id], FakeEngine(self.options.log, self.options.seconds_per_film))


@dataclass
class _StoppableEngine:
    """The fake engine, which raises `StoppedError` before a film once its stop event is set."""

    stop: threading.Event
    engine: FakeEngine

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one outcome per image, in order."""
        outcomes: list[Prediction | FilmError] = []
        for image in images:
            if self.stop.is_set():
                raise StoppedError("the test set the stop event")
            outcomes += self.engine.predict([image])
        return outcomes


@dataclass(frozen=True)
class RejectInProcess:
    """Plans, settles and closes a part without Beam: every film is rejected, and its URI is written to `log`.

    For tests of a backfill's own steps: such a part takes a tenth of the time that a pipeline needs to start.
    """

    seconds_per_film: float = 0.0
    log: Path | None = None

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> RunManifest:
        """Reject every film of the part; raise `StoppedError` when `stop` is set."""
        results, settings, bundle = ResultsRoot.at(job.out), Settings(**job.settings), fake_bundle()
        if job.held_lease is None:
            raise LeaseLostError(f"{job.run_id}: expected the lease of its backfill; got none")
        lease.check(results, job.held_lease)
        run = resume_run(job.sources, results, settings, bundle, job.run_id)
        if run is None:
            run = start_run(job.sources, results, settings, bundle, job.run_id)
        elif closed := read_manifest(results, job.run_id):
            return closed
        total, unsettled = sum(chunk.films for chunk in run.chunks), run.unsettled()
        done = total - sum(chunk.films for chunk in unsettled)
        for chunk in unsettled:
            rejects = []
            for ref in open_chunk(results.uri(layout.plan_key(job.run_id)), chunk):
                time.sleep(self.seconds_per_film)
                if stop.is_set():
                    raise StoppedError(f"run {job.run_id} was stopped")
                if self.log is not None:
                    with self.log.open("a") as file:
                        file.write(f"{ref.uri}\n")
                rejects.append(RejectedFilm(ref, Reason.TRUNCATED, "expected a film; got a test"))
            settle(results, run.header.partition, chunk, rejects, run.provenance)
            done += chunk.films
            on_progress(Progress(done=done, total=total))
        lease.check(results, job.held_lease)
        return close_run(run, runner="loop", settled_here=len(unsettled), films_here=total, seconds=1.0)
