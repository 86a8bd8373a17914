"""Small backfills for tests: parts that are scored in this process by an engine without a network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr_pipelines.backfill.scheduler import PartsWork
from cxr_pipelines.jobs.job import Progress, ScoreJob
from cxr_pipelines.score import score
from cxr_schemas import BackfillManifest, Cut, CutBy, Manifest
from cxrlib.backfills.create import BackfillRequest, start_backfill
from cxrlib.errors import FilmError, StoppedError
from cxrlib.results.objects import Store
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Prediction
from tests.support.fakes import FakeEngine, fake_bundle, fake_settings, film_png

SETTINGS = fake_settings(chunk_size=4)
#: By run: Beam hands its workers copies of what it is given, and a copy of an event is never set.
_stops: dict[str, threading.Event] = {}


def plant_years(root: Path, years: Sequence[int], films: int) -> Path:
    """Write `films` different films into a folder for each year."""
    for year in years:
        for number in range(films):
            path = root / str(year) / f"film{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(film_png(year * 10_000 + number))
    return root


def start(archive: Path, out: Path, *, cut: Cut | None = None, settings: Settings = SETTINGS) -> BackfillManifest:
    """Cut a backfill called ``b`` by year."""
    request = BackfillRequest("b", (str(archive),), cut or Cut(by=CutBy.YEAR), settings)
    return start_backfill(Store.at(str(out)), request, fake_bundle())


def work_on(manifest: BackfillManifest, out: Path, **rest: object) -> PartsWork:
    """Return the work on a backfill; a part that fell is tried again at once."""
    options = {"settings": SETTINGS, "retry_delay_s": 0.0, **rest}
    return PartsWork(Store.at(str(out)), manifest, **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class InProcess:
    """Scores a part in this process; `seconds_per_film` is what the engine sleeps."""

    seconds_per_film: float = 0.0
    log: Path | None = None

    def __call__(self, job: ScoreJob, on_progress: Callable[[Progress], None], stop: threading.Event) -> Manifest:
        """Score, until `stop` is set."""
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
                engine=_Factory(job.run_id, self),
                under=job.under,
                progress=lambda done, total: on_progress(Progress(done=done, total=total)),
            )
        except RuntimeError as error:  # Beam tells what its workers raised as one
            if stop.is_set():
                raise StoppedError(f"run {job.run_id} was stopped") from error
            raise


@dataclass(frozen=True)
class _Factory:
    run_id: str
    part: InProcess

    def __call__(self) -> _Stoppable:
        """Make the engine."""
        return _Stoppable(_stops[self.run_id], FakeEngine(self.part.log, self.part.seconds_per_film))


@dataclass
class _Stoppable:
    """The engine without a network, which gives up between two films when it is to stop."""

    stop: threading.Event
    engine: FakeEngine

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one outcome per image, in order."""
        outcomes: list[Prediction | FilmError] = []
        for image in images:
            if self.stop.is_set():
                raise StoppedError("as asked")
            outcomes += self.engine.predict([image])
        return outcomes
