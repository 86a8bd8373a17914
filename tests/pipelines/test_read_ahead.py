"""Reading chunks ahead: begun before anybody asks, taken over once, and called off where nobody does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_pipelines import read_ahead
from cxr_pipelines.elements import RunContext
from cxr_pipelines.read_ahead import ChunkReader, read_early
from cxr_pipelines.score import run_context
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs.plan import Chunk
from cxrlib.runs.run import start_run
from cxrlib.types import CxrImage
from tests.support.fakes import fake_bundle, fake_settings
from tests.support.small_archives import write_films


@pytest.fixture
def run(tmp_path: Path) -> tuple[RunContext, list[Chunk]]:
    archive, settings, bundle = (
        write_films(tmp_path / "archive", good=8),
        fake_settings(decode_workers=1),
        fake_bundle(),
    )
    planned = start_run([str(archive)], ResultsRoot.at(str(tmp_path / "out")), settings, bundle, "r")
    return run_context(planned, settings, bundle), planned.unsettled()


def test_head_start_is_taken_over_once_by_whoever_reads_that_chunk(run: tuple[RunContext, list[Chunk]]) -> None:
    job, (chunk, other, *_) = run
    reader = ChunkReader(job)
    with read_early(job, chunk):
        assert len(list(reader.begin(other))) == other.films
        begun = reader.begin(chunk)
        assert reader.begin(chunk) is not begun
        films = list(begun)
    assert len(films) == chunk.films
    assert any(isinstance(outcome, CxrImage) for _, outcome in films)


def test_head_start_that_nobody_takes_is_called_off(run: tuple[RunContext, list[Chunk]]) -> None:
    job, (chunk, *_) = run
    with read_early(job, chunk):
        (left,) = read_ahead._begun.values()
    assert not read_ahead._begun
    assert list(left) == []
    assert len(list(ChunkReader(job).begin(chunk))) == chunk.films
