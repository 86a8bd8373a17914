"""Masks of labelled films: resizing, several files, values."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlib.datasets import read_mask
from cxrlib.datasets.sample import MaskUnion
from cxrlib.errors import UsageError
from tests.support.labelled_films import write_flat_png


def test_mask_is_resized_by_majority(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:, :5] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert read_mask(tmp_path / "m.png").sum() == 40
    assert read_mask(tmp_path / "m.png", 4, 4).tolist() == [[True, True, False, False]] * 4


def test_mask_is_the_union_of_its_files(tmp_path: Path) -> None:
    for name, columns in (("l", slice(0, 2)), ("r", slice(6, 8))):
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[:, columns] = 255
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    assert read_mask(MaskUnion((tmp_path / "l.png", tmp_path / "r.png"))).sum() == 32
    write_flat_png(tmp_path / "r.png", side=9)
    with pytest.raises(UsageError, match="one size"):
        read_mask(MaskUnion((tmp_path / "l.png", tmp_path / "r.png")))


def test_mask_of_zeros_and_ones_is_refused(tmp_path: Path) -> None:
    write_flat_png(tmp_path / "m.png", 1)
    with pytest.raises(UsageError, match="0 and 255"):
        read_mask(tmp_path / "m.png")
