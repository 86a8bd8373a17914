"""Small archives on disk, and a short way to score them with the fake engine."""

from __future__ import annotations

from pathlib import Path

from cxr_pipelines.engine_factory import EngineFactory
from cxr_pipelines.score import score
from cxr_schemas import RunManifest
from cxrlib.settings import Settings
from tests.support.fakes import FakeEngineFactory, fake_bundle, fake_settings, film_png, model_failed_png, no_lung_png

#: Content of a bad file, by the reason of its reject.
BAD_FILES = {
    "empty": b"",
    "not_an_image": b"this is no film",
    "model_failed": model_failed_png(1),
    "no_lung": no_lung_png(1),
}


def write_films(root: Path, *, good: int = 6, bad: tuple[str, ...] = tuple(BAD_FILES)) -> Path:
    """Write `good` different films in two folders, and one file for each reason in `bad`, below `root`."""
    for number in range(good):
        path = root / f"{number % 2}" / f"film{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film_png(number))
    for reason in bad:
        (root / f"{reason}.png").write_bytes(BAD_FILES[reason])
    return root


def score_films(
    source: Path | str,
    out: Path | str,
    settings: Settings | None = None,
    *,
    run_id: str | None = None,
    resume: bool = False,
    runner: str = "local",
    engine: EngineFactory | None = None,
) -> RunManifest:
    """Score a source with the fake engine and return the manifest."""
    return score(
        [str(source)],
        str(out),
        settings or fake_settings(),
        run_id=run_id,
        resume=resume,
        runner=runner,
        bundle=fake_bundle(),
        engine=engine or FakeEngineFactory(),
    )
