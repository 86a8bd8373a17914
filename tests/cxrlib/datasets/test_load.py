"""Loading a data set: the layout is detected, and no group is in both splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_flows.cli.models.evaluate import EPILOG
from cxrlib.datasets import LAYOUTS, Split, read_dataset
from cxrlib.errors import UsageError
from tests.support.paths import REAL_FILMS as REAL

needs_real_films = pytest.mark.skipif(not REAL.is_dir(), reason="the real films (../shared/data) are missing")


def test_error_for_an_unknown_layout_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Infection Segmentation Data.*index\.csv.*LabelMe"):
        read_dataset(tmp_path)


def test_help_names_every_layout() -> None:
    assert [layout.name for layout in LAYOUTS if layout.name not in EPILOG] == []


@needs_real_films
@pytest.mark.parametrize("folder", ["covid-qu-ex", "lung_seg", "infection_seg", "classes", "severity"])
def test_no_group_of_the_real_films_is_in_both_splits(folder: str) -> None:
    groups = {split: {s.group for s in read_dataset(REAL / folder, split)} for split in Split}
    assert groups[Split.TRAIN]
    assert groups[Split.TEST]
    assert not groups[Split.TRAIN] & groups[Split.TEST]
