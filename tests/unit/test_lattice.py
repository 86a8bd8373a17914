"""Samples of a reduced film stand for the film: its mean over an area is that of the film rebuilt from them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrlib.lattice import Grid, Kernel, Lattice, halved

WAVELETS = [Kernel.WAVELET_5_3, Kernel.WAVELET_9_7]
#: Lifting steps of 9/7 (ISO/IEC 15444-1 Table F.4).
ALPHA, BETA, GAMMA, DELTA, K = -1.586134342, -0.052980118, 0.882911075, 0.443506852, 1.230174105


def rebuilt(samples: NDArray[np.float64], length: int, kernel: Kernel) -> NDArray[np.float64]:
    """Undo one halving by lifting (ISO/IEC 15444-1 F.3), with every detail at zero."""
    line = np.zeros(length)
    line[::2] = samples

    def at(index: NDArray[np.intp]) -> NDArray[np.float64]:
        mirrored = np.abs(index)
        return line[np.minimum(mirrored, np.abs(2 * (length - 1) - mirrored))]

    even, odd = np.arange(0, length, 2), np.arange(1, length, 2)
    if kernel is Kernel.WAVELET_5_3:
        line[odd] = (at(odd - 1) + at(odd + 1)) / 2
        return line
    line[::2] *= K
    for place, step in ((even, DELTA), (odd, GAMMA), (even, BETA), (odd, ALPHA)):
        line[place] -= step * (at(place - 1) + at(place + 1))
    return line


def film_of(samples: NDArray[np.uint16], lattice: Lattice) -> NDArray[np.float64]:
    """Rebuild the whole film along both axes; one tile."""
    film = samples.astype(np.float64)
    for step in reversed(range(lattice.level)):
        rows, columns = halved(lattice.rows, step), halved(lattice.columns, step)
        if lattice.kernel is Kernel.BLOCK:
            film = np.repeat(np.repeat(film, 2, axis=0), 2, axis=1)[:rows, :columns]
            continue
        film = np.stack([rebuilt(line, rows, lattice.kernel) for line in film.T], axis=1)
        film = np.stack([rebuilt(line, columns, lattice.kernel) for line in film])
    return film


def means(film: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    return cv2.resize(film, (grid.columns, grid.rows), interpolation=cv2.INTER_AREA)


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(40, 75), st.integers(40, 75)),
    st.tuples(st.integers(2, 19), st.integers(2, 19)),
    st.integers(1, 3),
    st.sampled_from(list(Kernel)),
)
def test_average_is_that_of_the_film_rebuilt_without_its_details(
    seed: int, size: tuple[int, int], grid: tuple[int, int], level: int, kernel: Kernel
) -> None:
    lattice = Lattice(*size, level, kernel)
    samples = np.random.default_rng(seed).integers(20_000, 40_000, lattice.shape).astype(np.uint16)
    expected = np.clip(means(film_of(samples, lattice), Grid(*grid)), samples.min(), samples.max())
    np.testing.assert_allclose(lattice.average(samples, Grid(*grid)), expected, atol=0.05)


@pytest.mark.parametrize("kernel", WAVELETS)
def test_sample_lies_at_its_pixel_and_not_in_the_middle_of_a_block(kernel: Kernel) -> None:
    ramp = np.arange(0, 64_000, 1000, dtype=np.uint16)  # of the pixels 0, 4, 8, ...: 250 a pixel
    averaged = Lattice(256, 256, 2, kernel).average(np.tile(ramp, (64, 1)), Grid(16, 16))
    inner = averaged[4, 1:-1]  # the last pixels lie beyond the last sample
    np.testing.assert_allclose(inner, 250 * (16 * np.arange(1, 15) + 7.5), rtol=1e-5)


@pytest.mark.parametrize("kernel", list(Kernel))
def test_even_grey_stays_as_it_is(kernel: Kernel) -> None:
    lattice = Lattice(301, 211, 2, kernel, 64 if kernel is not Kernel.BLOCK else None)
    assert np.array_equal(
        lattice.average(np.full(lattice.shape, 4321, np.uint16), Grid(30, 20)), np.full((30, 20), 4321)
    )


@pytest.mark.parametrize("kernel", WAVELETS)
def test_tiles_are_averaged_each_by_itself(kernel: Kernel) -> None:
    samples = np.random.default_rng(1).integers(0, 65536, (32, 48)).astype(np.uint16)
    whole = Lattice(64, 96, 1, kernel, 32, 48).average(samples, Grid(8, 8))
    for row in range(2):
        for column in range(2):
            tile = Lattice(32, 48, 1, kernel).average(samples[16 * row :, 24 * column :][:16, :24].copy(), Grid(4, 4))
            np.testing.assert_allclose(whole[4 * row :, 4 * column :][:4, :4], tile, rtol=1e-5)


@pytest.mark.parametrize(
    ("rows", "columns", "level"),
    [
        (3000, 2500, 2),
        (2048, 2048, 2),
        (2047, 2048, 1),
        (1024, 1024, 1),
        (1024, 1023, 0),
        (300, 4000, 0),
        (4096, 4096, 3),
    ],
)
def test_film_is_halved_while_it_keeps_twice_the_grid(rows: int, columns: int, level: int) -> None:
    assert Grid(256, 256).spare_level(rows, columns) == level
    assert Grid(256, 128).turned().spare_level(columns // 2, rows) == Grid(256, 128).spare_level(rows, columns // 2)
