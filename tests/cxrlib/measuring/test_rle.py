"""Run lengths survive a round trip, and text that `encode` does not write is rejected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pycocotools import mask as coco

from cxrlib.measuring import rle

_masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(_masks)
def test_round_trip(mask: NDArray[np.bool_]) -> None:
    text = rle.encode(mask)
    decoded = rle.decode(text, *mask.shape)
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, mask)


@given(_masks)
def test_a_coco_reader_decodes_the_text(mask: NDArray[np.bool_]) -> None:
    read = coco.decode({"size": list(mask.shape), "counts": rle.encode(mask)})
    np.testing.assert_array_equal(read.astype(bool), mask)


@pytest.mark.parametrize("mask", [np.zeros((256, 256), bool), np.ones((256, 256), bool), np.eye(256, dtype=bool)])
def test_round_trip_of_extreme_masks(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(rle.decode(rle.encode(mask), 256, 256), mask)


@given(_masks, st.text(max_size=30))
def test_text_that_is_not_a_mask_of_this_size_is_rejected(mask: NDArray[np.bool_], text: str) -> None:
    rows, columns = mask.shape
    if text != rle.encode(mask):
        try:
            decoded = rle.decode(text, rows, columns)
        except ValueError:
            return
        assert rle.encode(decoded) == text


@pytest.mark.parametrize(
    "text", ["", "a", "0", "00", "\x00", "°0", "ooooooooo0", "@0", "1" * 50, "oooooo0", "oooooO", "O0O0", "4 0"]
)
def test_malformed_text_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        rle.decode(text, 4, 4)


def test_mask_of_another_size_is_rejected() -> None:
    text = rle.encode(np.eye(8, dtype=bool))
    for rows, columns in ((8, 9), (7, 8), (4, 8), (0, 8)):
        with pytest.raises(ValueError, match="expected"):
            rle.decode(text, rows, columns)


@pytest.mark.parametrize("mask", [np.zeros((3, 3)), np.zeros((0, 3), bool), np.zeros(3, bool)])
def test_arrays_that_are_not_masks_are_rejected(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match="expected a bool mask"):
        rle.encode(mask)
