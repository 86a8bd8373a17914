"""Rows of the real engine depend neither on the batches nor on the position of a film in the archive."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cxr_pipelines.score import score
from cxrlib.models.inference.torch_engine import TorchEngine
from cxrlib.phantom.encode import encode_png
from cxrlib.phantom.film import make_phantom
from cxrlib.settings import RunSettings, Settings
from tests.support.results_roots import chunk_objects
from tests.support.tiny_bundles import tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread")

FILMS = 9


class TinyEngineFactory:
    """Makes the engine of the tiny bundle, whose weights exist only in memory."""

    def __call__(self) -> TorchEngine:
        """Build the engine."""
        return TorchEngine(tiny_bundle(), device="cpu")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    for seed in range(FILMS):
        (root / f"{seed:02}.png").write_bytes(encode_png(make_phantom(seed, rows=160, columns=160)))
    (root / "05-bad.png").write_bytes(b"no film")
    return root


def run(archive: Path, out: Path, *, batch_size: int, chunk_size: int = 6, reverse: bool = False) -> None:
    sources = [str(path) for path in sorted(archive.iterdir(), reverse=reverse)]
    settings = Settings(run=RunSettings(batch_size=batch_size, chunk_size=chunk_size))
    score(sources, str(out), settings, run_id="r", bundle=tiny_bundle(), engine=TinyEngineFactory())


def test_rows_do_not_depend_on_batches_or_listing_order(archive: Path, tmp_path: Path) -> None:
    run(archive, tmp_path / "a", batch_size=32)
    run(archive, tmp_path / "b", batch_size=3, reverse=True)
    assert chunk_objects(tmp_path / "a") == chunk_objects(tmp_path / "b")
    assert len(pd.read_parquet(tmp_path / "a/scores")) >= FILMS // 2, "the test must compare scores, not only rejects"
    run(archive, tmp_path / "c", batch_size=1, chunk_size=1)
    one, two = (
        pd.read_parquet(tmp_path / name / "scores").sort_values("uri", ignore_index=True).astype(str) for name in "ac"
    )
    pd.testing.assert_frame_equal(one, two)
