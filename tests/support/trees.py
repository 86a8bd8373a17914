"""Small archives on disk and a short way to score them."""

from __future__ import annotations

from pathlib import Path

from cxr_pipelines.inference import EngineFactory
from cxr_pipelines.score import score
from cxr_schemas import Manifest
from cxrlib.settings import Settings
from tests.support.fakes import FakeEngineFactory, fake_bundle, fake_settings, film_png, poisoned_png, void_png

#: Content of a bad file, by the reason it is rejected for.
BAD = {
    "empty": b"",
    "not_an_image": b"this is no film",
    "model_failed": poisoned_png(1),
    "no_lung": void_png(1),
}


def plant(root: Path, *, good: int = 6, bad: tuple[str, ...] = tuple(BAD)) -> Path:
    """Write `good` different films and one file of each bad kind below `root`, in two folders."""
    for number in range(good):
        path = root / f"{number % 2}" / f"film{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(film_png(number))
    for reason in bad:
        (root / f"{reason}.png").write_bytes(BAD[reason])
    return root


def run(
    source: Path | str,
    out: Path | str,
    settings: Settings | None = None,
    *,
    run_id: str | None = None,
    resume: bool = False,
    runner: str = "local",
    engine: EngineFactory | None = None,
) -> Manifest:
    """Score with the fake engine."""
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


def objects(out: Path) -> dict[str, bytes]:
    """Return the chunk objects below a local results root, by relative path."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for kind in ("scores", "rejects")
        for path in sorted((out / kind).rglob("part-*.parquet"))
    }
