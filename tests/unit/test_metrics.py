"""Figures of merit against scikit-learn and by hand, and their intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from cxrlib import metrics
from cxrlib.metrics import PixelCounts, PixelMetric, count_pixels
from schemas import FilmClass

sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn, of the train extra, is what the figures are held to")

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
    if not truth.all():
        assert PixelMetric.SPECIFICITY.of(counts) == pytest.approx(sk.recall_score(*flat, pos_label=False))


def test_empty_against_empty_is_one_and_empty_against_something_is_zero() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert metrics.dice(empty, empty) == metrics.iou(empty, empty) == 1.0
    assert metrics.dice(empty, full) == metrics.iou(full, empty) == 0.0


def test_masks_of_two_shapes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="one shape"):
        count_pixels(np.zeros((4, 4), bool), np.zeros((1, 4), bool))


def test_interval_is_equation_2_of_qu_ex() -> None:
    estimate = metrics.with_interval(0.9, 100)
    assert (estimate.low, estimate.high) == pytest.approx((0.9 - 1.96 * 0.03, 0.9 + 1.96 * 0.03))


@given(st.floats(0, 1), st.integers(1, 10_000))
def test_interval_holds_its_value_and_stays_a_share(value: float, n: int) -> None:
    estimate = metrics.with_interval(value, n)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_no_films_give_no_figure() -> None:
    for estimate in (metrics.proportion([]), metrics.mean_over_films([], PixelMetric.DICE), metrics.accuracy([], [])):
        assert math.isnan(estimate.value)
        assert estimate.n == 0


def test_mean_weighs_films_and_pool_weighs_pixels() -> None:
    large, small = PixelCounts(900, 100, 0, 0), PixelCounts(1, 0, 9, 0)
    assert metrics.mean_over_films([large, small], PixelMetric.SENSITIVITY).value == pytest.approx((1 + 0.1) / 2)
    together = metrics.pooled([large, small], PixelMetric.SENSITIVITY)
    assert together.value == pytest.approx(901 / 910)
    assert together.n == 2


def test_film_without_truth_does_not_count_in_mean_sensitivity() -> None:
    estimate = metrics.mean_over_films([PixelCounts(1, 0, 1, 0), PixelCounts(0, 1, 0, 9)], PixelMetric.SENSITIVITY)
    assert (estimate.value, estimate.n) == (0.5, 1)


@given(hnp.arrays(np.bool_, 30), hnp.arrays(np.bool_, 30))
def test_detection_counts_the_films_it_is_about(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> None:
    assume(truth.any() and not truth.all())
    sensitivity = metrics.detection_sensitivity(truth, found)
    specificity = metrics.detection_specificity(truth, found)
    assert sensitivity.value == pytest.approx(sk.recall_score(truth, found, zero_division=0.0))
    assert specificity.value == pytest.approx(sk.recall_score(truth, found, pos_label=False, zero_division=0.0))
    assert (sensitivity.n, specificity.n) == (truth.sum(), (~truth).sum())


@given(st.lists(st.tuples(st.sampled_from(FilmClass), st.sampled_from(FilmClass)), min_size=1, max_size=40))
def test_confusion_matrix_equals_scikit_learn(pairs: list[tuple[FilmClass, FilmClass]]) -> None:
    truth, found = zip(*pairs, strict=True)
    matrix = metrics.confusion_matrix(truth, found)
    names = [film_class.value for film_class in FilmClass]
    np.testing.assert_array_equal(
        matrix.counts, sk.confusion_matrix([t.value for t in truth], [f.value for f in found], labels=names)
    )
    assert metrics.accuracy(truth, found).value == pytest.approx(np.trace(matrix.counts) / len(pairs))
    first = matrix.sensitivity(FilmClass.COVID19)
    assert first.n == truth.count(FilmClass.COVID19)


def test_spearman_follows_ranks_alone() -> None:
    a = np.arange(1.0, 31.0)
    assert metrics.spearman(a, np.exp(a)).value == pytest.approx(1.0)
    assert metrics.spearman(a, -a).value == pytest.approx(-1.0)
    noisy = metrics.spearman(a, a + 12 * np.sin(a * 5))
    assert -1 < noisy.low < noisy.value < noisy.high < 1


def test_spearman_of_what_does_not_vary_is_undefined() -> None:
    assert math.isnan(metrics.spearman(np.ones(10), np.arange(10.0)).value)


def test_readings_of_different_films_are_not_compared() -> None:
    with pytest.raises(ValueError, match="same films"):
        metrics.spearman(np.arange(5.0), np.arange(6.0))
