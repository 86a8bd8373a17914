"""The whole film is requested if the reduced film may be truncated, and only then."""

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


def needs_whole_film(pixels: np.ndarray) -> bool:
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


def test_complete_film_is_judged_reduced() -> None:
    assert not needs_whole_film(FILM)


def test_film_of_one_value_is_read_whole() -> None:
    assert needs_whole_film(np.zeros_like(FILM))


@settings(max_examples=80, deadline=None)
@given(st.integers(100 * 640, 1199 * 640), st.sampled_from([0, 5, 2048, 4095]))
def test_every_film_that_is_cut_is_read_whole(kept: int, value: int) -> None:
    cut = FILM.copy()
    cut.ravel()[kept:] = value
    assert needs_whole_film(cut) or not is_cut(cut)


@pytest.mark.parametrize("border", [40, 100])
def test_film_collimated_on_all_sides_is_judged_reduced(border: int) -> None:
    collimated = np.zeros_like(FILM)
    collimated[border:-border, border:-border] = FILM[border:-border, border:-border]
    assert not needs_whole_film(collimated)


def test_film_with_a_thin_line_below_is_judged_reduced() -> None:
    lined = FILM.copy()
    lined[-3:] = 0
    assert not needs_whole_film(lined)


def test_ripple_of_a_lossy_codec_does_not_hide_a_flat_lower_part() -> None:
    cut = FILM.copy()
    cut[900:] = 2048 + np.random.default_rng(0).integers(-8, 9, (300, 640))
    assert needs_whole_film(cut)
