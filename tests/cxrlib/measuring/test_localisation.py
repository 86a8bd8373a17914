"""Localisation maps are scaled per film and stored exactly; text that is not a map is rejected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cxrlib.measuring.localisation import MAX_CELLS, decode, decode_cells, encode, expand_cells, to_cells

_cells = hnp.arrays(np.uint8, st.tuples(st.integers(1, MAX_CELLS), st.integers(1, MAX_CELLS)))
_attributions = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(-1e6, 1e6, width=32)
)


@given(_cells)
def test_cells_survive_a_round_trip_through_text(cells: NDArray[np.uint8]) -> None:
    text = encode(cells)
    assert text.isascii()
    np.testing.assert_array_equal(decode_cells(text), cells)
    np.testing.assert_array_equal(decode(text, 64, 48), expand_cells(cells, 64, 48))


@given(_attributions)
def test_a_map_is_scaled_to_its_largest_value(attribution: NDArray[np.float32]) -> None:
    cells = to_cells(attribution)
    assert max(cells.shape) <= MAX_CELLS
    assert cells.max() in (0, 255)
    drawn = expand_cells(cells, 64, 64)
    assert drawn.dtype == np.float32
    assert drawn.shape == (64, 64)
    assert 0 <= drawn.min() <= drawn.max() <= 1


def test_the_encoding_is_as_documented() -> None:
    assert encode(np.array([[0, 1, 2], [253, 254, 255]], np.uint8)) == "2x3:AAEC/f7/"


def test_negative_values_are_zero_and_the_largest_is_one() -> None:
    cells = to_cells(np.array([[-4.0, 0.0], [0.001, 0.002]], np.float32))
    np.testing.assert_array_equal(cells, [[0, 0], [128, 255]])


def test_a_film_without_positive_attribution_has_a_map_of_zeros() -> None:
    for nothing in (np.zeros((8, 8), np.float32), np.full((8, 8), -1, np.float32)):
        np.testing.assert_array_equal(to_cells(nothing), np.zeros((8, 8)))


def test_a_layer_with_more_cells_than_are_stored_is_averaged() -> None:
    fine = np.repeat(np.repeat(np.eye(32, dtype=np.float32), 2, axis=0), 2, axis=1)
    np.testing.assert_array_equal(to_cells(fine), np.eye(32) * 255)


def test_a_map_is_linear_between_the_centres_of_its_cells() -> None:
    row = expand_cells(np.array([[0, 255]], np.uint8), 1, 8)[0]
    np.testing.assert_allclose(row, [0, 0, 0.125, 0.375, 0.625, 0.875, 1, 1], atol=1e-6)


@pytest.mark.parametrize(
    "cells", [np.zeros((2, 2), np.float32), np.zeros((0, 2), np.uint8), np.zeros((33, 1), np.uint8)]
)
def test_arrays_that_are_not_cells_are_rejected(cells: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="expected uint8 cells"):
        encode(cells)


@pytest.mark.parametrize(
    "text", ["", "2x2", "2x2:", "2x2:AAEC", "0x4:AAAA", "2x2:AA EC==", "2x2:AAEC/A", "33x1:" + 44 * "A", "2x2:AAECAB=="]
)
def test_text_that_is_not_a_map_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        decode(text, 64, 64)
