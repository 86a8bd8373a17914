"""Means over areas of a film are estimated from the samples of a reduced film, for any filter."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxrlib.reading.lattice import Grid, Kernel, Lattice, Samples, halved

WAVELETS = [Kernel.WAVELET_5_3, Kernel.WAVELET_9_7]


def reduced(film: NDArray[np.float64], level: int, kernel: Kernel) -> NDArray[np.float64]:
    """Return the samples of `film`: filtered and halved along both axes, mirrored about its ends."""
    first, weights = kernel.value
    for _ in range(level):
        for _axis in range(2):
            padded = np.pad(film, ((0, 0), (8, 8)), mode="edge" if kernel is Kernel.BLOCK else "reflect")
            filtered = sum(
                weight * padded[:, 8 + first + place :][:, : film.shape[1]] for place, weight in enumerate(weights)
            )
            film = np.asarray(filtered)[:, ::2].T
    return film


def smooth(rows: int, columns: int, finest: float, seed: int = 0) -> NDArray[np.float64]:
    """Return a film of waves no finer than `finest` px, with values from 20,000 to 50,000."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    film = np.zeros((rows, columns))
    for _ in range(12):
        angle, phase = rng.uniform(0, 2 * np.pi, 2)
        film += np.cos(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / rng.uniform(finest, 6 * finest) + phase)
    return 35_000 + 15_000 * film / np.abs(film).max()


def means(film: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(film, (grid.columns, grid.rows), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("kernel", list(Kernel))
@pytest.mark.parametrize("size", [(600, 500), (587, 469)])
def test_means_of_a_film_are_estimated_from_its_samples(size: tuple[int, int], kernel: Kernel, level: int) -> None:
    film, grid = smooth(*size, finest=30), Grid(51, 43)  # areas of some 11.6 px, as in a film of 3000 for 256
    samples = reduced(film, level, kernel)
    found = Lattice(*size, level, kernel).average(np.rint(samples).astype(np.uint16), grid)
    error = np.abs(found - means(film, grid))[1:-1, 1:-1]
    assert error.max() < (45 if level == 1 else 150)  # of a contrast of 30,000
    naive = np.abs(means(samples, grid) - means(film, grid))[1:-1, 1:-1]
    assert error.mean() < naive.mean() / 5


@given(st.integers(0, 2**32 - 1), st.integers(1, 2))
def test_mean_of_an_area_of_whole_blocks_is_the_mean_of_its_blocks(seed: int, level: int) -> None:
    blocks = np.random.default_rng(seed).integers(20_000, 40_000, (48, 64)).astype(np.uint16)
    rows, columns = (side * 2**level for side in blocks.shape)
    expected = means(blocks.astype(np.float64), Grid(12, 16))
    found = Lattice(rows, columns, level, Kernel.BLOCK).average(blocks, Grid(12, 16))
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.parametrize("kernel", list(Kernel))
def test_fine_grain_moves_a_mean_by_less_than_it_moves_the_film(kernel: Kernel) -> None:
    grain = np.random.default_rng(3).normal(35_000, 1000, (600, 600))
    found = Lattice(600, 600, 1, kernel).average(np.rint(reduced(grain, 1, kernel)).astype(np.uint16), Grid(51, 51))
    true = means(grain, Grid(51, 51))
    assert (found - true).std() < 0.3 * true.std()


@pytest.mark.parametrize("kernel", WAVELETS)
def test_sample_is_at_its_pixel_and_not_in_the_middle_of_a_block(kernel: Kernel) -> None:
    ramp = np.arange(0, 64_000, 1000, dtype=np.uint16)  # of the pixels 0, 4, 8, ...: 250 a pixel
    averaged = Lattice(256, 256, 2, kernel).average(np.tile(ramp, (64, 1)), Grid(16, 16))
    inner = averaged[4, 1:-1]  # the last pixels lie beyond the last sample
    np.testing.assert_allclose(inner, 250 * (16 * np.arange(1, 15) + 7.5), atol=1)  # 0.004 px


@pytest.mark.parametrize("kernel", list(Kernel))
@pytest.mark.parametrize("size", [(300, 212), (301, 211)])
def test_even_grey_is_unchanged(size: tuple[int, int], kernel: Kernel) -> None:
    lattice = Lattice(*size, 2, kernel)
    average = lattice.average(np.full(lattice.shape, 4321, np.uint16), Grid(30, 20))
    assert np.array_equal(average, np.full((30, 20), 4321))


def test_average_stays_within_the_samples() -> None:
    board = (np.indices((64, 64)).sum(axis=0) // 8 % 2 * 65535).astype(np.uint16)
    average = Lattice(128, 128, 1, Kernel.WAVELET_9_7).average(board, Grid(30, 30))
    assert average.min() >= 0 and average.max() <= 65535


@pytest.mark.parametrize("kernel", list(Kernel))
@pytest.mark.parametrize("size", [(1030, 612), (611, 3000), (300, 300)])
@pytest.mark.parametrize("at_a_time", [1, 5_000, 60_000])
def test_averaging_in_strips_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, kernel: Kernel, size: tuple[int, int], at_a_time: int
) -> None:
    lattice, grid = Lattice(*size, 1, kernel), Grid(96, 64)
    samples = np.random.default_rng(5).integers(0, 4096, lattice.shape).astype(np.uint16)
    table = np.random.default_rng(6).random(4096, np.float32)
    monkeypatch.setattr("cxrlib.reading.lattice._STRIP", 2**30)
    whole = lattice.average(table[samples], grid)
    monkeypatch.setattr("cxrlib.reading.lattice._STRIP", at_a_time)
    seen: list[int] = []

    def look_up(some: Samples) -> NDArray[np.float32]:
        seen.append(len(some))
        return table[some.astype(np.intp)]

    strips = lattice.average(samples, grid, look_up)
    assert np.array_equal(strips, whole)
    assert len(seen) > 1 and sum(seen) >= lattice.shape[0]


def test_samples_of_an_odd_side_are_rounded_up() -> None:
    assert [halved(length, 2) for length in (8, 9, 12, 13)] == [2, 3, 3, 4]
    assert Lattice(9, 12, 2, Kernel.BLOCK).shape == (3, 3)


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
    assert Grid(256, 256).spare_level(rows, columns, 12) == level
    assert Grid(256, 256).spare_level(rows, columns, 8) == max(level - 1, 0)
    half = columns // 2
    assert Grid(256, 128).turned().spare_level(half, rows, 12) == Grid(256, 128).spare_level(rows, half, 12)
