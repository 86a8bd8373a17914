"""Colour images are read if their channels agree, and rejected otherwise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading import colour
from tests.support.film_files import film


def rgb(bits: int = 8) -> np.ndarray:
    return np.stack([film(bits=bits)] * 3, axis=2).astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("bits", [8, 16])
def test_equal_channels_give_the_film(bits: int) -> None:
    assert np.array_equal(colour.from_rgb(rgb(bits), bits), rgb(bits)[..., 0])


def test_coloured_marker_in_a_corner_is_tolerated() -> None:
    marked = rgb()
    marked[:20, :20] = (255, 0, 0)
    assert colour.from_rgb(marked, 8).shape == marked.shape[:2]


@settings(deadline=None)
@given(st.integers(20, 235), st.integers(0, 2))
def test_tinted_image_is_not_grey(amount: int, channel: int) -> None:
    tinted = rgb().astype(int)
    tinted[..., channel] = (tinted[..., channel] + amount) % 256
    with pytest.raises(FilmError) as caught:
        colour.from_rgb(tinted.astype(np.uint8), 8)
    assert caught.value.reason is Reason.NOT_GREY


def test_luma_is_the_film_only_with_neutral_chroma() -> None:
    ybr = rgb()
    ybr[..., 1:] = 128
    assert np.array_equal(colour.from_ybr(ybr, 8), ybr[..., 0])
    ybr[..., 2] = 200
    with pytest.raises(FilmError):
        colour.from_ybr(ybr, 8)


def test_indices_outside_a_palette_get_its_first_or_last_colour() -> None:
    colours = np.repeat(np.array([[10], [20], [30]], np.uint16), 3, axis=1)
    assert colour.from_palette(np.array([[0, 5, 6, 7, 99]]), 5, colours, 8).tolist() == [[10, 10, 20, 30, 30]]


def test_coloured_palette_is_not_grey_only_if_the_film_uses_its_colours() -> None:
    colours = np.repeat(np.arange(256, dtype=np.uint16)[:, None], 3, axis=1)
    colours[200:] = (255, 0, 0)
    assert colour.from_palette(np.full((9, 9), 7), 0, colours, 8).max() == 7
    with pytest.raises(FilmError):
        colour.from_palette(np.full((9, 9), 250), 0, colours, 8)
