"""Overlays: colours, positions and proportions of the drawing."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.measuring.localisation import localisation_map
from cxrlib.measuring.overlay import LONG_SIDE, Colour, draw_overlay
from cxrlib.types import ScoredFilm
from tests.support.scored_films import scored_film


def _picture(film: ScoredFilm) -> NDArray[np.uint8]:
    """Return the overlay as red, green, blue."""
    decoded = cv2.imdecode(np.frombuffer(draw_overlay(film.image, film.masks), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[:, :, ::-1], dtype=np.uint8)


def _columns_of(picture: NDArray[np.uint8], colour: Colour) -> NDArray[np.intp]:
    return np.nonzero((picture == colour.value).all(axis=2))[1]


def test_picture_has_the_proportions_of_the_source() -> None:
    assert _picture(scored_film()).shape == (LONG_SIDE, round(LONG_SIDE * 2000 / 2500), 3)


def test_each_mask_is_outlined_in_its_colour_on_its_side() -> None:
    picture = _picture(scored_film())
    middle = picture.shape[1] / 2
    assert _columns_of(picture, Colour.RIGHT_LUNG).max() < middle < _columns_of(picture, Colour.LEFT_LUNG).min()
    assert 0 < _columns_of(picture, Colour.INFECTION).max() < middle


def test_healthy_film_has_no_infection_drawn() -> None:
    for film in (scored_film(infected=False), scored_film(with_infection=False)):
        assert _columns_of(_picture(film), Colour.INFECTION).size == 0


def test_localisation_is_a_haze_with_a_contour_at_its_threshold() -> None:
    film = scored_film(cells=np.array([[0, 0], [0, 255]], np.uint8))
    plain, drawn = (
        draw_overlay(film.image, film.masks, *rest) for rest in ((), (localisation_map(film.prediction), 0.5))
    )
    before, after = (cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_COLOR) for each in (plain, drawn))
    assert before is not None
    assert after is not None
    height, width = after.shape[:2]
    np.testing.assert_array_equal(before[: height // 5, : width // 5], after[: height // 5, : width // 5])
    haze = after[-height // 20 :, -width // 20 :].reshape(-1, 3).mean(axis=0)
    assert haze[0] < haze[1], "yellow has more green than blue"
    columns = _columns_of(np.asarray(after[:, :, ::-1], dtype=np.uint8), Colour.LOCALISED)
    assert 0.45 * width < columns.min() < columns.max()


def test_film_shows_through_off_the_masks() -> None:
    film = scored_film()
    white = dataclasses.replace(film.image, pixels=np.ones_like(film.image.pixels))
    picture = _picture(dataclasses.replace(film, image=white))
    assert (picture[:20, :300] == 255).all()


def test_same_film_gives_the_same_bytes() -> None:
    film = scored_film()
    assert draw_overlay(film.image, film.masks) == draw_overlay(film.image, film.masks)
