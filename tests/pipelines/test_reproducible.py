"""The same archive gives the same bytes, whatever the batches, threads, workers and order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cxrlib.settings import RunSettings, Settings
from tests.support.fakes import fake_settings
from tests.support.results_roots import chunk_objects
from tests.support.small_archives import score_films, write_films


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_films(tmp_path_factory.mktemp("archive"), good=21)


@pytest.fixture(scope="module")
def expected(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("expected")
    score_films(archive, out, run_id="r")
    return chunk_objects(out)


@pytest.mark.parametrize(
    "settings",
    [
        fake_settings(batch_size=1),
        fake_settings(batch_size=7),
        fake_settings(batch_size=1024),
        fake_settings(batch_size=5, prefetch=1, decode_threads=1),
        fake_settings(batch_size=5, prefetch=64, decode_threads=8),
        fake_settings(batch_size=5, decode_workers=2, fetches=1, prefetch_mb=1),
    ],
    ids=lambda settings: f"batch{settings.run.batch_size}-ahead{settings.run.prefetch}-{settings.run.decode_workers}",
)
def test_batches_and_threads_change_no_byte(
    archive: Path, expected: dict[str, bytes], tmp_path: Path, settings: Settings
) -> None:
    score_films(archive, tmp_path, settings, run_id="r")
    assert chunk_objects(tmp_path) == expected


def test_worker_processes_change_no_byte(
    archive: Path, expected: dict[str, bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    score_films(archive, tmp_path, fake_settings(decode_workers=1), run_id="r", runner="local:2")
    assert chunk_objects(tmp_path) == expected
    assert capfd.readouterr().err == ""


def test_chunk_size_does_not_change_the_rows(archive: Path, tmp_path: Path) -> None:
    import pandas as pd

    tables = []
    for chunk_size in (4, 100):
        out = tmp_path / str(chunk_size)
        score_films(archive, out, fake_settings(chunk_size=chunk_size), run_id="r")
        table = pd.read_parquet(out / "scores")
        tables.append(
            table.astype(dict.fromkeys(table.select_dtypes("category"), str)).sort_values("uri", ignore_index=True)
        )
    pd.testing.assert_frame_equal(tables[0], tables[1])


def test_run_settings_do_not_change_the_configuration_digest() -> None:
    assert Settings(run=RunSettings(batch_size=1)).digest() == Settings(run=RunSettings(batch_size=2)).digest()


@pytest.mark.parametrize("setting", [{"engine": "torch"}, {"compile_networks": True}, {"precision": "fp32"}], ids=str)
def test_what_a_row_states_is_no_part_of_the_configuration_digest(setting: dict[str, Any]) -> None:
    assert Settings(run=RunSettings(**setting)).digest() == Settings().digest()
