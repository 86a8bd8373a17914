"""The fast code equals a plain reference on 2,000 masks, synthetic and real, from probabilities to stored text."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cxr_schemas.card import GradeCuts, Postprocess
from cxrlib.errors import FilmError
from cxrlib.measuring import rle
from cxrlib.measuring.masks import clean_masks, lung_regions
from cxrlib.measuring.severity import measure_severity
from tests.support import reference_masks
from tests.support.paths import REAL_FILMS
from tests.support.scored_films import prediction, two_lungs

_FILMS = REAL_FILMS / "covid-qu-ex"
_EACH = 1_000
_LENIENT = Postprocess(min_lung_fraction=0.0, max_lung_fraction=1.0)

Pair = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def _noise(random: np.random.Generator, side: int, least: float, most: float) -> NDArray[np.float64]:
    return ndimage.gaussian_filter(random.random((side, side)), random.uniform(least, most), mode="nearest")


def _synthetic() -> Iterator[Pair]:
    """Lungs with tears, holes, bridges and specks, and noise without lungs."""
    random = np.random.default_rng(20_260)
    for index in range(_EACH):
        side = int(random.integers(40, 97))
        noise = _noise(random, side, 0.3, 5)
        if index % 4:
            swing = random.uniform(0.02, 0.6)
            lung = two_lungs(side) + swing * (noise - noise.mean()) / noise.std() > 0.5
        else:
            lung = noise > np.quantile(noise, random.random())
        other = _noise(random, side, 0.3, 5)
        yield lung, other > np.quantile(other, random.random())


def _real() -> Iterator[Pair]:
    """Annotated masks at half the rows and columns; every second lung has rough edges, like a network's output."""
    random = np.random.default_rng(20_261)
    for index, path in enumerate(sorted(_FILMS.glob("*/*/*/lung masks/*"))[::3][:_EACH]):
        paths = (path, path.parents[1] / "infection masks" / path.name)
        lung, infection = (cv2.imread(str(name), cv2.IMREAD_GRAYSCALE)[::2, ::2] > 127 for name in paths)
        if index % 2:
            noise = _noise(random, lung.shape[0], 0.5, 3)
            lung = lung + 0.2 * (noise - noise.mean()) / noise.std() > 0.5
        yield lung, infection


def _check(pair: Pair) -> bool:
    """Compare one film; return whether its lungs could be measured."""
    thresholded, infected = pair
    predicted = prediction(thresholded, infected)
    lung = reference_masks.lung(thresholded, _LENIENT)
    np.testing.assert_array_equal(lung_regions(predicted.lung, _LENIENT).mask, lung)
    assert rle.encode(lung) == reference_masks.run_lengths(lung)
    try:
        masks = clean_masks(predicted, _LENIENT)
    except FilmError:
        return False
    infection = reference_masks.infection(infected, lung, _LENIENT)
    np.testing.assert_array_equal(masks.lung, lung)
    np.testing.assert_array_equal(masks.infection, infection)
    assert not (masks.left & masks.right).any()
    severity = measure_severity(masks, None, GradeCuts())
    assert severity.whole.percent == reference_masks.percent(infection, lung)
    assert severity.left.percent == reference_masks.percent(infection, masks.left)
    assert severity.right.percent == reference_masks.percent(infection, masks.right)
    assert severity.regions == reference_masks.region_count(infection)
    assert rle.encode(infection) == reference_masks.run_lengths(infection)
    return True


def test_synthetic_masks_equal_the_reference() -> None:
    measured = [_check(pair) for pair in _synthetic()]
    assert len(measured) == _EACH
    assert sum(measured) > _EACH // 2, "most films must reach the last comparison"


def test_real_masks_equal_the_reference() -> None:
    if not _FILMS.is_dir():
        pytest.skip("needs real masks: covid-qu-ex of the shared data is absent")
    measured = [_check(pair) for pair in _real()]
    assert len(measured) == _EACH
    assert sum(measured) > 0.98 * _EACH
