"""Statistics over films for many weightings at once, as a bootstrap needs them.

Each function takes `weights`, float64 (weightings, films): how often each film counts. A row of ones gives the plain
statistic; the rows of `group_weights` give the statistic of every bootstrap resample. The tests compare the values with
scikit-learn (`sample_weight`) and torchmetrics. Those take one weighting per call, too slow for the hundred thousand or
so of a report. A statistic that is not defined is NaN.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

#: One value per film, NaN if the film has none.
PerFilm = NDArray[np.float64]
#: Weightings x films.
Weights = NDArray[np.float64]
#: One value per weighting.
Values = NDArray[np.float64]

#: Bins of the calibration error (Guo et al., ICML 2017, section 2).
CALIBRATION_BINS: Final = 15
#: 95 % of films are within this many standard deviations of the mean difference (Bland and Altman, 1986).
LIMITS_Z: Final = 1.96


def group_weights(groups: NDArray[np.int64], resamples: int, seed: int) -> Weights:
    """Return how often each film counts in each resample. Groups are drawn with replacement.

    All films of a group are drawn together because films of one patient are not independent.

    Parameters
    ----------
    groups : int64 array, one per film
        Group of the film, 0 to G - 1.
    resamples : int
    seed : int
        The same seed gives the same resamples.
    """
    count = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return drawn[:, groups].astype(np.float64)


def mean(values: PerFilm, weights: Weights) -> Values:
    """Return the weighted mean over the films that have a value."""
    known = ~np.isnan(values)
    part = weights[:, known]
    return _quotient(part @ values[known], part.sum(axis=1))


def ratio(numerators: PerFilm, denominators: PerFilm, weights: Weights) -> Values:
    """Return a pooled share: the sum of numerators over the sum of denominators, over the films that have both."""
    known = ~(np.isnan(numerators) | np.isnan(denominators))
    part = weights[:, known]
    return _quotient(part @ numerators[known], part @ denominators[known])


def roc_auc(scores: PerFilm, positive: PerFilm, weights: Weights) -> Values:
    """Return the area under the ROC curve: how often a positive film scores above a negative one; ties count half.

    Parameters
    ----------
    scores : float64, one per film
    positive : float64, one per film
        1 or 0, NaN if unknown.
    """
    known = ~(np.isnan(scores) | np.isnan(positive))
    _, rank = np.unique(scores[known], return_inverse=True)
    if rank.size == 0:
        return np.full(len(weights), np.nan)
    steps = np.zeros((rank.size, int(rank.max()) + 1))
    steps[np.arange(rank.size), rank] = 1.0
    part = weights[:, known]
    of_positive = (part * positive[known]) @ steps
    of_negative = (part * (1 - positive[known])) @ steps
    below = np.cumsum(of_negative, axis=1) - of_negative
    won = (of_positive * (below + of_negative / 2)).sum(axis=1)
    return _quotient(won, of_positive.sum(axis=1) * of_negative.sum(axis=1))


def calibration_error(confidence: PerFilm, right: PerFilm, weights: Weights) -> Values:
    """Return the expected calibration error: the mean gap between confidence and accuracy over bins, weighted by films.

    Parameters
    ----------
    confidence : float64, one per film
        Probability of the called class, in [0, 1].
    right : float64, one per film
        1 if the called class is the true one, else 0; NaN if unknown.
    """
    known = ~(np.isnan(confidence) | np.isnan(right))
    bins = np.zeros((int(known.sum()), CALIBRATION_BINS))
    bins[np.arange(len(bins)), calibration_bin(confidence[known])] = 1.0
    gaps = (weights[:, known] * (right - confidence)[known]) @ bins
    return _quotient(np.abs(gaps).sum(axis=1), weights[:, known].sum(axis=1))


def calibration_bin(confidence: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each confidence. Bin b holds values above b / 15 up to (b + 1) / 15."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, CALIBRATION_BINS - 1)


def rank_correlation(a: PerFilm, b: PerFilm, weights: Weights) -> Values:
    """Return Spearman's rank correlation, -1 to 1. `weights` must be whole numbers."""
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    return np.array([_spearman(a, b, row.astype(np.int64)) for row in weights[:, known]])


def _spearman(a: PerFilm, b: PerFilm, counts: NDArray[np.int64]) -> float:
    drawn = np.repeat(np.arange(counts.size), counts)
    ranks = np.stack([stats.rankdata(a[drawn]), stats.rankdata(b[drawn])]) if drawn.size > 3 else np.zeros((2, 1))
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / scale) if scale else float("nan")


def standard_deviation(values: PerFilm, weights: Weights) -> Values:
    """Return the sample standard deviation over the films that have a value."""
    known = ~np.isnan(values)
    part, middle = weights[:, known], mean(values, weights)
    squares = part @ values[known] ** 2 - part.sum(axis=1) * middle**2
    return np.asarray(np.sqrt(np.maximum(_quotient(squares, part.sum(axis=1) - 1), 0.0)))


def limit_of_agreement(differences: PerFilm, weights: Weights, side: float) -> Values:
    """Return the limit of agreement 1.96 standard deviations above (`side` 1) or below (-1) the mean difference."""
    return np.asarray(mean(differences, weights) + side * LIMITS_Z * standard_deviation(differences, weights))


def _quotient(part: Values, whole: Values) -> Values:
    return np.asarray(np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0))
