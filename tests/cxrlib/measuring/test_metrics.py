"""Pixel metrics against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn import metrics as sk

from cxrlib.measuring import metrics
from cxrlib.measuring.metrics import PixelMetric, count_pixels

_pairs = st.integers(1, 12).flatmap(
    lambda side: st.tuples(hnp.arrays(np.bool_, (side, side)), hnp.arrays(np.bool_, (side, side)))
)


@given(_pairs)
def test_pixel_metrics_equal_scikit_learn(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    truth, found = pair
    counts = count_pixels(truth, found)
    flat = truth.ravel(), found.ravel()
    assert PixelMetric.DICE.of(counts) == pytest.approx(sk.f1_score(*flat, zero_division=1.0))
    assert PixelMetric.IOU.of(counts) == pytest.approx(
        sk.jaccard_score(*flat, zero_division=1.0) if (truth | found).any() else 1
    )
    assert PixelMetric.ACCURACY.of(counts) == pytest.approx(sk.accuracy_score(*flat))
    if truth.any():
        assert PixelMetric.SENSITIVITY.of(counts) == pytest.approx(sk.recall_score(*flat))
    if found.any():
        assert PixelMetric.PRECISION.of(counts) == pytest.approx(sk.precision_score(*flat))
    if not truth.all():
        assert PixelMetric.SPECIFICITY.of(counts) == pytest.approx(sk.recall_score(*flat, pos_label=False))


def test_two_empty_masks_give_one_and_an_empty_against_a_full_mask_gives_zero() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert metrics.dice(empty, empty) == metrics.iou(empty, empty) == 1.0
    assert metrics.dice(empty, full) == metrics.iou(full, empty) == 0.0


def test_masks_of_different_shapes_are_rejected() -> None:
    with pytest.raises(ValueError, match="one shape"):
        count_pixels(np.zeros((4, 4), bool), np.zeros((1, 4), bool))
