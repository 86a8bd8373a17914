"""Whole runs on a fake GPU: from the table to the rows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cxr_pipelines import gpu_workers
from cxr_pipelines.score import score
from cxr_schemas import RunManifest
from cxrlib.models.bundle import write_bundle
from cxrlib.models.inference.forward_batch import FORWARD_BATCHES
from cxrlib.phantom.encode import encode_png
from cxrlib.phantom.film import make_phantom
from cxrlib.settings import ReadSettings, RunSettings, Settings
from tests.support.fake_cuda import fake_cuda
from tests.support.results_roots import chunk_objects
from tests.support.tiny_bundles import tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread")

FILMS = 9


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    for seed in range(FILMS):
        (root / f"{seed:02}.png").write_bytes(encode_png(make_phantom(seed, rows=160, columns=160)))
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    tiny = tiny_bundle()
    folder = str(tmp_path_factory.mktemp("bundle"))
    write_bundle(folder, tiny.card, tiny.files)
    return folder


def run(archive: Path, out: Path, bundle: str, **run_settings: object) -> RunManifest:
    settings = Settings(
        bundle=bundle,
        read=ReadSettings(min_side=32),
        run=RunSettings(decode_workers=0, **run_settings),  # type: ignore[arg-type]
    )
    return score([str(archive)], str(out), settings, run_id="r")


def columns(out: Path) -> dict[str, set[object]]:
    rows = pd.read_parquet(out / "scores")
    assert len(rows) >= FILMS // 2, "the test must compare scores, not only rejects"
    return {name: set(rows[name]) for name in ("precision", "forward_batch")}


def test_a_run_on_a_gpu_takes_its_forward_batch_from_the_table(archive: Path, bundle: str, tmp_path: Path) -> None:
    with fake_cuda(4.0):
        manifest = run(archive, tmp_path / "out", bundle)
    assert manifest.forward_batch == FORWARD_BATCHES[4][0]
    assert columns(tmp_path / "out") == {"precision": {"bf16"}, "forward_batch": {FORWARD_BATCHES[4][0]}}


def test_the_rows_of_a_run_on_a_gpu_are_reproducible(archive: Path, bundle: str, tmp_path: Path) -> None:
    objects = []
    for name in "ab":
        with fake_cuda(4.0):
            run(archive, tmp_path / name, bundle, device="cuda", forward_batch=2)
        objects.append(chunk_objects(tmp_path / name))
    assert objects[0] == objects[1]


def test_after_memory_ran_out_rows_state_the_halved_number_and_the_manifest_the_planned_one(
    archive: Path, bundle: str, tmp_path: Path
) -> None:
    with fake_cuda(4.0) as cuda:
        cuda.most_films = 3
        manifest = run(archive, tmp_path / "out", bundle, forward_batch=8)
    assert manifest.forward_batch == 8
    assert columns(tmp_path / "out")["forward_batch"] == {2}


def test_all_gpus_of_a_machine_with_one_are_that_one(
    archive: Path, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    gpu_workers._claimed_gpu.cache_clear()
    with fake_cuda(4.0, capability=(7, 0)):
        manifest = run(archive, tmp_path / "out", bundle, device="cuda:all")
    gpu_workers._claimed_gpu.cache_clear()
    assert manifest.runner == "local"
    assert columns(tmp_path / "out")["precision"] == {"fp16"}
