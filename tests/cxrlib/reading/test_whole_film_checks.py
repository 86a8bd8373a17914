"""A reduced film that might be judged otherwise as a whole is known; one that might not is let pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrlib.errors import FilmError
from cxrlib.reading.truncation import check_truncation
from cxrlib.reading.whole_film_checks import WholeFilmNeededError, check_reduced_truncation
from tests.support.film_files import film

FILM = film(1200, 640)


def halved(pixels: np.ndarray) -> np.ndarray:
    return pixels.reshape(600, 2, 320, 2).mean(axis=(1, 3)).astype(np.uint16)


def is_doubtful(pixels: np.ndarray) -> bool:
    try:
        check_reduced_truncation(halved(pixels))
    except WholeFilmNeededError:
        return True
    return False


def is_cut(pixels: np.ndarray) -> bool:
    try:
        check_truncation(pixels)
    except FilmError:
        return True
    return False


def test_whole_film_is_not_doubted() -> None:
    assert not is_doubtful(FILM)


def test_film_of_one_value_is_doubted() -> None:
    assert is_doubtful(np.zeros_like(FILM))


@settings(max_examples=80, deadline=None)
@given(st.integers(100 * 640, 1199 * 640), st.sampled_from([0, 5, 2048, 4095]))
def test_every_cut_of_the_whole_film_is_doubted(kept: int, value: int) -> None:
    cut = FILM.copy()
    cut.ravel()[kept:] = value
    assert is_doubtful(cut) or not is_cut(cut)


@pytest.mark.parametrize("border", [40, 100])
def test_film_collimated_on_all_sides_is_not_doubted(border: int) -> None:
    collimated = np.zeros_like(FILM)
    collimated[border:-border, border:-border] = FILM[border:-border, border:-border]
    assert not is_doubtful(collimated)


def test_thin_line_below_is_not_doubted() -> None:
    lined = FILM.copy()
    lined[-3:] = 0
    assert not is_doubtful(lined)


def test_ripple_of_a_lossy_codec_does_not_hide_a_flat_foot() -> None:
    cut = FILM.copy()
    cut[900:] = 2048 + np.random.default_rng(0).integers(-8, 9, (300, 640))
    assert is_doubtful(cut)
