"""The negative of a chest film is detected, with any frame around it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cxrlib.reading.display.polarity import THRESHOLD, _medians, correlation, is_negative
from tests.support.film_files import film


def chest(rows: int = 160, columns: int = 144) -> np.ndarray:
    return (film(rows, columns) / np.float32(4095)).astype(np.float32)


def test_chest_is_positive_and_its_inverted_copy_negative() -> None:
    assert not is_negative(chest())
    assert is_negative(1 - chest())


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("border", [(80, 0, 0, 0), (0, 80, 0, 0), (40, 40, 60, 60), (0, 0, 90, 0)])
def test_frame_of_any_grey_does_not_hide_the_polarity(value: float, border: tuple[int, int, int, int]) -> None:
    framed = np.pad(chest(), (border[:2], border[2:]), constant_values=value)
    assert correlation(framed) > THRESHOLD
    assert is_negative(1 - framed)


def test_film_without_contrast_is_not_a_negative() -> None:
    assert correlation(np.full((64, 64), 0.3, np.float32)) == 0
    assert not is_negative(np.zeros((64, 64), np.float32))


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, (40, 48), elements=st.floats(0, 1, width=32)))
def test_inverting_a_film_inverts_the_sign_of_its_correlation(pixels: np.ndarray) -> None:
    assert correlation(np.float32(1) - pixels) == pytest.approx(-correlation(pixels), abs=2e-3)
    assert -1.0001 <= correlation(pixels) <= 1.0001


@pytest.mark.parametrize("columns", [1, 2, 24, 63, 64])
def test_medians_equal_those_of_numpy(columns: int) -> None:
    films = np.random.default_rng(columns).random((40, columns), np.float32).round(2)
    assert np.array_equal(_medians(films), np.median(films, axis=1, keepdims=True))
