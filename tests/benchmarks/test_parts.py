"""The steps of reading whose time the benchmark of parts reports are functions that a run really calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.archives import ARCHIVES, make_archive
from tests.benchmarks.parts import READING_STEPS, measure_reading


@pytest.mark.parametrize("name", ["jpeg_lossless", "native"])
def test_every_step_of_reading_takes_time(name: str, tmp_path: Path) -> None:
    archive = make_archive(tmp_path, ARCHIVES[name], 2, distinct=2, side=1100)
    seconds = measure_reading(archive)
    assert [step for step in READING_STEPS if not seconds[step] > 0] == []
    assert seconds["rest of reading"] > 0
