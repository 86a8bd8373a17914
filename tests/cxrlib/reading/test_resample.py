"""Resizing averages along a side that shrinks, and keeps values within range along one that grows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cxrlib.reading.resample import resize

_films = hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.floats(0, 1, width=32))
_side = st.integers(1, 48)


@given(_films, _side, _side)
def test_result_has_the_requested_size_and_stays_within_range(
    film: NDArray[np.float32], rows: int, columns: int
) -> None:
    result = resize(film, rows, columns)
    assert result.shape == (rows, columns)
    assert result.dtype == np.float32
    assert film.min() - 1e-6 <= result.min()
    assert result.max() <= film.max() + 1e-6


@given(_films)
def test_same_size_gives_the_same_film(film: NDArray[np.float32]) -> None:
    assert resize(film, *film.shape) is film


def test_shrinking_by_a_fraction_averages_over_areas() -> None:
    film = np.arange(6, dtype=np.float32).reshape(1, 6)
    np.testing.assert_allclose(resize(film, 1, 4), [[1 / 3, 5 / 3, 10 / 3, 14 / 3]], rtol=1e-6)


def test_one_side_may_shrink_while_the_other_grows() -> None:
    film = np.array([[0, 4], [2, 6]], np.uint16)
    np.testing.assert_array_equal(resize(film, 1, 4), [[1, 2, 4, 5]])
