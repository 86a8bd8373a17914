"""Halving a film averages blocks of 2 x 2, for any size and type."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrlib.reading.halving import can_be_halved, halve


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from([np.uint8, np.uint16, np.int16]),
)
def test_every_block_is_averaged_over_the_pixels_that_it_has(
    seed: int, size: tuple[int, int], dtype: type[np.integer]
) -> None:
    limits = np.iinfo(dtype)
    pixels = np.random.default_rng(seed).integers(limits.min, limits.max, size, endpoint=True).astype(dtype)
    means, lattice = halve(pixels)
    assert means.dtype == dtype
    assert means.shape == lattice.shape
    for row in range(means.shape[0]):
        for column in range(means.shape[1]):
            block = pixels[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert abs(float(means[row, column]) - block.mean()) <= 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_excess_is_the_mean_that_rounding_adds(dtype: type[np.integer]) -> None:
    pixels = np.random.default_rng(0).integers(50, 200, (600, 600)).astype(dtype)
    means, lattice = halve(pixels)
    assert means.mean() - pixels.mean() == pytest.approx(lattice.excess, abs=0.01)


def test_signed_bytes_are_not_halved() -> None:
    assert not can_be_halved(np.zeros((2, 2), np.int8))
    assert can_be_halved(np.zeros((2, 2), np.uint16))
