"""Masks that no chest film has are rejected, and the error states the limit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxr_schemas.card import Postprocess
from cxrlib.errors import FilmError
from cxrlib.measuring.masks import clean_masks
from tests.support.scored_films import ellipse, prediction, two_lungs


def _blank() -> NDArray[np.bool_]:
    return np.zeros((128, 128), dtype=bool)


def _dotted() -> NDArray[np.bool_]:
    mask = _blank()
    for row in range(8, 120, 40):
        for column in range(8, 120, 40):
            mask |= ellipse(128, (row + 12) / 128, (column + 12) / 128, 0.1, 0.1)
    return mask


def _frame() -> NDArray[np.bool_]:
    return ~ellipse(128, 0.5, 0.5, 0.49, 0.49) & ~ellipse(128, 0.5, 0.5, 0.6, 0.3)


def _band(rows: slice, columns: slice) -> NDArray[np.bool_]:
    mask = _blank()
    mask[rows, columns] = True
    return mask


def _apart() -> NDArray[np.bool_]:
    return ellipse(128, 0.2, 0.25, 0.18, 0.15) | ellipse(128, 0.8, 0.75, 0.18, 0.15)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        pytest.param(ellipse(128, 0.5, 0.5, 0.05, 0.05), "% of the film", id="too little of the film"),
        pytest.param(~ellipse(128, 0.5, 0.5, 0.1, 0.1), "% of the film", id="nearly all of the film"),
        pytest.param(_dotted(), "at most 8 regions", id="scattered"),
        pytest.param(_frame(), "of the film's edges", id="the film's background"),
        pytest.param(_band(slice(60, 72), slice(4, 124)), "of the film high", id="a stripe across"),
        pytest.param(_band(slice(4, 124), slice(60, 72)), "times as wide as high", id="a stripe down"),
        pytest.param(_band(slice(20, 100), slice(20, 100)), "of the rectangle", id="a rectangle"),
        pytest.param(_apart(), "side by side", id="one above the other"),
    ],
)
def test_mask_that_no_chest_film_has_is_rejected(mask: NDArray[np.bool_], text: str) -> None:
    with pytest.raises(FilmError) as caught:
        clean_masks(prediction(mask), Postprocess())
    assert caught.value.reason is Reason.IMPLAUSIBLE_LUNG
    assert text in caught.value.expected


def test_empty_mask_is_rejected_and_not_zero_percent() -> None:
    with pytest.raises(FilmError) as caught:
        clean_masks(prediction(_blank(), _blank()), Postprocess())
    assert caught.value.reason is Reason.NO_LUNG


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(two_lungs(128), id="plain"),
        pytest.param(ellipse(128, 0.5, 0.28, 0.34, 0.16), id="one lung"),
        pytest.param(np.kron(two_lungs(64), np.ones((2, 2), dtype=bool)), id="coarse"),
        pytest.param(np.roll(two_lungs(128), -40, axis=0), id="cut off by the film's edge"),
    ],
)
def test_plausible_lungs_pass(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(clean_masks(prediction(mask), Postprocess()).lung, mask)
