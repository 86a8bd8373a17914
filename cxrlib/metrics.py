"""Figures of merit, each with its 95 % confidence interval and the number of films it rests on.

Segmentation is counted per film (`count_pixels`) and then either averaged over films or pooled over all their pixels
(qu-ex Eq. 3 to 5). Detection and classification count films. Intervals are those of qu-ex Eq. 2,
``z * sqrt(m * (1 - m) / N)`` with z = 1.96 and N films, cut to [0, 1]; of a rank correlation, Fisher's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from schemas import FilmClass

#: Level of significance of 95 % (qu-ex Eq. 2).
Z: Final = 1.96
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its 95 % confidence interval and the number of films; NaN where the figure is not defined."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n = {self.n})"


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Pixels of one film, or of several added up, by truth and finding."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    def __add__(self, other: PixelCounts) -> PixelCounts:
        return PixelCounts(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )


class PixelMetric(Enum):
    """Measures of a mask against the truth. Each gives NaN where it is not defined.

    Dice and IoU of an empty mask against an empty truth are 1: nothing was to be found, and nothing was.
    """

    DICE = "dice"
    IOU = "iou"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    ACCURACY = "accuracy"

    def of(self, counts: PixelCounts) -> float:
        """Return the measure, 0 to 1, of one film or of the pooled pixels of several."""
        return _PIXEL_METRICS[self](counts)


def _share(part: float, whole: float, *, of_nothing: float = math.nan) -> float:
    return part / whole if whole else of_nothing


def _dice(c: PixelCounts) -> float:
    both = 2 * c.true_positive
    return _share(both, both + c.false_positive + c.false_negative, of_nothing=1.0)


def _iou(c: PixelCounts) -> float:
    return _share(c.true_positive, c.true_positive + c.false_positive + c.false_negative, of_nothing=1.0)


def _sensitivity(c: PixelCounts) -> float:
    return _share(c.true_positive, c.true_positive + c.false_negative)


def _specificity(c: PixelCounts) -> float:
    return _share(c.true_negative, c.true_negative + c.false_positive)


def _accuracy(c: PixelCounts) -> float:
    right = c.true_positive + c.true_negative
    return _share(right, right + c.false_positive + c.false_negative)


_PIXEL_METRICS: Final[dict[PixelMetric, Callable[[PixelCounts], float]]] = {
    PixelMetric.DICE: _dice,
    PixelMetric.IOU: _iou,
    PixelMetric.SENSITIVITY: _sensitivity,
    PixelMetric.SPECIFICITY: _specificity,
    PixelMetric.ACCURACY: _accuracy,
}


def count_pixels(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> PixelCounts:
    """Count the pixels of one film; both masks are bool, rows x columns, of one shape.

    Raises
    ------
    ValueError
        If the shapes differ or a mask is not bool.
    """
    if truth.shape != found.shape or truth.dtype != np.bool_ or found.dtype != np.bool_:
        raise ValueError(
            "expected two bool masks of one shape; "
            f"met {truth.dtype} of {truth.shape} and {found.dtype} of {found.shape}"
        )
    both = int(np.count_nonzero(truth & found))
    only_found = int(np.count_nonzero(found)) - both
    only_truth = int(np.count_nonzero(truth)) - both
    return PixelCounts(both, only_found, only_truth, truth.size - both - only_found - only_truth)


def dice(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return the Dice similarity of two masks (qu-ex Eq. 5); 1 where both are empty."""
    return PixelMetric.DICE.of(count_pixels(truth, found))


def iou(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks (qu-ex Eq. 4; inflocnet Eq. 1); 1 where both are empty."""
    return PixelMetric.IOU.of(count_pixels(truth, found))


def with_interval(value: float, n: int) -> Estimate:
    """Return a share, 0 to 1, measured on `n` films, with its interval (qu-ex Eq. 2)."""
    if n == 0 or math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan, 0)
    if not 0 <= value <= 1:
        raise ValueError(f"expected a share of 0 to 1; met {value}")
    reach = Z * math.sqrt(value * (1 - value) / n)
    return Estimate(value, max(value - reach, 0.0), min(value + reach, 1.0), n)


def mean_over_films(films: Iterable[PixelCounts], metric: PixelMetric) -> Estimate:
    """Return the mean of a metric over films; films where it is not defined do not count."""
    values = [value for value in map(metric.of, films) if not math.isnan(value)]
    return with_interval(math.fsum(values) / len(values) if values else math.nan, len(values))


def pooled(films: Sequence[PixelCounts], metric: PixelMetric) -> Estimate:
    """Return a metric over the pixels of all films together; N is films, since pixels of a film are not independent."""
    return with_interval(metric.of(sum(films, PixelCounts(0, 0, 0, 0))), len(films))


def proportion(flags: Sequence[bool] | NDArray[np.bool_]) -> Estimate:
    """Return the share of films for which a flag is set."""
    array = np.asarray(flags, dtype=bool)
    return with_interval(float(array.mean()) if array.size else math.nan, int(array.size))


def detection_sensitivity(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Estimate:
    """Return the share of the positive films that were found; N is the positive films."""
    truth, found = _paired(truth, found)
    return proportion(found[truth])


def detection_specificity(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Estimate:
    """Return the share of the negative films that were not called positive; N is the negative films."""
    truth, found = _paired(truth, found)
    return proportion(~found[~truth])


def accuracy(truth: Sequence[FilmClass], found: Sequence[FilmClass]) -> Estimate:
    """Return the share of films whose class was found."""
    return proportion([a is b for a, b in zip(truth, found, strict=True)])


@dataclass(frozen=True, slots=True, eq=False)
class ConfusionMatrix:
    """Films by class; ``counts[i, j]`` (int64) were of ``classes[i]`` and were called ``classes[j]``."""

    classes: tuple[FilmClass, ...]
    counts: NDArray[np.int64]

    def sensitivity(self, of: FilmClass) -> Estimate:
        """Return the share of the films of a class that were called it."""
        row = self.counts[self.classes.index(of)]
        return with_interval(_share(float(row[self.classes.index(of)]), float(row.sum())), int(row.sum()))


def confusion_matrix(
    truth: Sequence[FilmClass], found: Sequence[FilmClass], classes: Sequence[FilmClass] = tuple(FilmClass)
) -> ConfusionMatrix:
    """Count films by true and found class."""
    index = {film_class: i for i, film_class in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for a, b in zip(truth, found, strict=True):
        counts[index[a], index[b]] += 1
    return ConfusionMatrix(tuple(classes), counts)


def spearman(a: Sequence[float] | NDArray[np.float64], b: Sequence[float] | NDArray[np.float64]) -> Estimate:
    """Return Spearman's rank correlation, -1 to 1, of two readings of the same films; NaN if one does not vary.

    The interval is Fisher's, with the standard error of Bonett and Wright (Psychometrika 2000;65:23-28):
    ``tanh(atanh(r) +- z * sqrt((1 + r^2 / 2) / (n - 3)))``. Equation 2 of qu-ex is for shares and does not hold here.
    """
    x, y = _paired(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))
    n = int(x.size)
    if n < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Estimate(math.nan, math.nan, math.nan, n)
    value = float(stats.spearmanr(x, y).statistic)
    if abs(value) >= 1:
        return Estimate(value, value, value, n)
    reach = Z * math.sqrt((1 + value**2 / 2) / (n - 3))
    centre = math.atanh(value)
    return Estimate(value, math.tanh(centre - reach), math.tanh(centre + reach), n)


def _paired(a: NDArray[_T], b: NDArray[_T]) -> tuple[NDArray[_T], NDArray[_T]]:
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"expected two readings of the same films; met {a.shape} and {b.shape}")
    return a, b
