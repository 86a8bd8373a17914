"""Truncated films are rejected; collimated and padded films, which also end in one value, are accepted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.truncation import check_truncation
from tests.support.film_files import film

FILM = film(200, 180)


def is_cut(pixels: np.ndarray) -> bool:
    try:
        check_truncation(pixels)
    except FilmError as error:
        assert error.reason is Reason.TRUNCATED
        return True
    return False


@settings(max_examples=60, deadline=None)
@example(50 * 180 + 1, 0)
@example(50 * 180 + 179, 0)
@given(st.integers(20 * 180, 195 * 180), st.sampled_from([0, 1, 4000, 4095]))
def test_film_that_continues_with_one_value_is_cut(kept: int, value: int) -> None:
    cut = FILM.copy()
    cut.ravel()[kept:] = value
    stepped = 4 < kept % 180 < 176
    large = 200 - kept // 180 > 42 and kept // 180 > 40
    assert is_cut(cut) or not (stepped or large)


@pytest.mark.parametrize("column", [40, 96, 160])
@pytest.mark.parametrize("block", [8, 16])
def test_row_of_jpeg_blocks_that_breaks_off_is_cut(column: int, block: int) -> None:
    cut = FILM.copy()
    cut[160 : 160 + block, column:] = 2048
    cut[160 + block :] = 2048
    assert is_cut(cut)


def test_cut_in_a_grey_that_is_common_in_the_film_is_detected() -> None:
    common = (FILM >> 6).astype(np.uint8)  # 64 greys
    value = int(np.bincount(common[100, 40:97]).argmax())
    assert (common[100, :97] == value).mean() > 0.05
    common[100, 97:] = value
    common[101:] = value
    assert is_cut(common)


def test_whole_film_is_accepted() -> None:
    assert not is_cut(FILM)


@pytest.mark.parametrize("value", [0, 4095])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.18])
def test_straight_shutter_below_is_accepted(share: float, value: int) -> None:
    collimated = FILM.copy()
    collimated[int((1 - share) * 200) :] = value
    assert not is_cut(collimated)


def test_wide_shutter_on_three_sides_is_accepted() -> None:
    collimated = np.zeros_like(FILM)
    collimated[:120, 20:160] = FILM[:120, 20:160]
    assert not is_cut(collimated)


def test_film_padded_to_a_square_above_and_below_is_accepted() -> None:
    assert not is_cut(np.pad(FILM, ((90, 90), (0, 0))))


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.5])
def test_slanted_shutter_is_accepted(slope: float) -> None:
    rows, columns = np.indices(FILM.shape)
    assert not is_cut(np.where(rows > 185 - slope * columns, 0, FILM + np.uint16(1)))


def test_round_shutter_is_accepted() -> None:
    rows, columns = np.indices(FILM.shape)
    inside = (rows - 95) ** 2 + (columns - 90) ** 2 < 90**2
    assert not is_cut(np.where(inside, FILM + np.uint16(1), 0))


def test_row_that_fades_into_a_border_is_not_cut() -> None:
    bordered = FILM.copy()
    bordered[192:] = 0
    bordered[192, :120] = np.arange(120) % 3
    assert not is_cut(bordered)


def test_constant_film_is_not_cut() -> None:
    assert not is_cut(np.zeros((50, 40), np.uint8))
