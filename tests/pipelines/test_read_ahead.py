"""Reading chunks early: a chunk is started before it is needed, taken over once, or cancelled."""

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


def test_early_read_is_taken_over_once(run: tuple[RunContext, list[Chunk]]) -> None:
    context, (chunk, other, *_) = run
    reader = ChunkReader(context)
    with read_early(context, chunk):
        assert len(list(reader.begin(other))) == other.films
        begun = reader.begin(chunk)
        assert reader.begin(chunk) is not begun
        films = list(begun)
    assert len(films) == chunk.films
    assert any(isinstance(outcome, CxrImage) for _, outcome in films)


def test_early_read_that_is_not_taken_over_is_cancelled(run: tuple[RunContext, list[Chunk]]) -> None:
    context, (chunk, *_) = run
    with read_early(context, chunk):
        (left,) = read_ahead._read_early.values()
    assert not read_ahead._read_early
    assert list(left) == []
    assert len(list(ChunkReader(context).begin(chunk))) == chunk.films
