"""Statistics for many weightings match scikit-learn, torchmetrics and SciPy, weighting by weighting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from cxrlib.evaluation.figures import statistics as s

Floats = NDArray[np.float64]
_seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, films: int = 60, rows: int = 4) -> tuple[np.random.Generator, Floats]:
    generator = np.random.default_rng(seed)
    weights = generator.integers(0, 3, (rows, films)).astype(np.float64)
    weights[0] = 1
    return generator, weights


@given(_seeds)
def test_roc_auc_matches_scikit_learn_with_sample_weights(seed: int) -> None:
    generator, weights = draw(seed)
    scores = generator.integers(0, 12, 60) / 12  # with ties
    positive = (generator.random(60) < 0.4).astype(np.float64)
    for row, got in zip(weights, s.roc_auc(scores, positive, weights), strict=True):
        counted = positive[row > 0]
        if counted.min() == counted.max():
            assert np.isnan(got)
        else:
            assert got == pytest.approx(sk.roc_auc_score(positive, scores, sample_weight=row))


@given(_seeds)
def test_calibration_error_matches_torchmetrics(seed: int) -> None:
    generator, weights = draw(seed)
    probabilities = generator.dirichlet([0.6, 0.6, 0.6], 60)
    true = generator.integers(0, 3, 60)
    got = s.calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == true, weights)
    for row, value in zip(weights.astype(int), got, strict=True):
        drawn = np.repeat(np.arange(60), row)
        expected = multiclass_calibration_error(
            torch.from_numpy(probabilities[drawn]), torch.from_numpy(true[drawn]), 3, n_bins=15, norm="l1"
        )
        assert value == pytest.approx(float(expected), abs=1e-6)


@given(_seeds)
def test_rank_correlation_matches_scipy_on_the_drawn_films(seed: int) -> None:
    generator, weights = draw(seed, films=20)
    a, b = generator.integers(0, 8, 20).astype(float), generator.random(20)
    for row, got in zip(weights.astype(int), s.rank_correlation(a, b, weights), strict=True):
        drawn = np.repeat(np.arange(20), row)
        assert got == pytest.approx(stats.spearmanr(a[drawn], b[drawn]).statistic)


@given(_seeds)
def test_mean_ratio_and_standard_deviation_match_numpy_on_the_drawn_films(seed: int) -> None:
    generator, weights = draw(seed)
    a, b = generator.random(60), generator.random(60)
    a[5] = b[9] = np.nan
    for number, row in enumerate(weights.astype(int)):
        drawn = np.repeat(np.arange(60), row)
        both = drawn[~np.isnan(a[drawn] + b[drawn])]
        assert s.mean(a, weights)[number] == pytest.approx(np.nanmean(a[drawn]))
        assert s.ratio(a, b, weights)[number] == pytest.approx(a[both].sum() / b[both].sum())
        assert s.standard_deviation(a, weights)[number] == pytest.approx(np.nanstd(a[drawn], ddof=1))


def test_undefined_statistics_are_nan() -> None:
    none, ones = np.full(4, np.nan), np.ones((2, 4))
    assert np.isnan(s.mean(none, ones)).all()
    assert np.isnan(s.ratio(none, none, ones)).all()
    assert np.isnan(s.roc_auc(none, none, ones)).all()
    assert np.isnan(s.calibration_error(none, none, ones)).all()
    assert np.isnan(s.rank_correlation(none, none, ones)).all()
    assert np.isnan(s.rank_correlation(np.ones(4), np.arange(4.0), ones)).all()


@given(_seeds, st.integers(1, 9))
def test_films_of_a_group_are_drawn_together(seed: int, count: int) -> None:
    groups = np.random.default_rng(seed).permutation(np.arange(40) % count)
    weights = s.group_weights(groups, 50, seed)
    for group in range(count):
        drawn = weights[:, groups == group]
        assert (drawn == drawn[:, :1]).all()
    per_group = np.stack([weights[:, groups == group][:, 0] for group in range(count)], axis=1)
    assert (per_group.sum(axis=1) == count).all()
    np.testing.assert_array_equal(weights, s.group_weights(groups, 50, seed))


def test_limits_of_agreement_follow_bland_and_altman() -> None:
    differences = np.array([-2.0, 0.0, 1.0, 5.0])
    ones = np.ones((1, 4))
    middle, deviation = differences.mean(), differences.std(ddof=1)
    assert s.limit_of_agreement(differences, ones, -1)[0] == pytest.approx(middle - 1.96 * deviation)
    assert s.limit_of_agreement(differences, ones, 1)[0] == pytest.approx(middle + 1.96 * deviation)
