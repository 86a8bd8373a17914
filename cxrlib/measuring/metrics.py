"""How well a mask agrees with the truth, counted in pixels (qu-ex Eq. 3 to 5).

How films are put together, and with what interval, is the business of `cxrlib.evaluation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PixelCounts:
    """Pixels of one film, or of several added up, by truth and finding."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class PixelMetric(Enum):
    """Measures of a mask against the truth. Each gives NaN where it is not defined.

    Dice and IoU of an empty mask against an empty truth are 1: nothing was to be found, and nothing was.
    """

    DICE = "dice"
    IOU = "iou"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    PRECISION = "precision"
    ACCURACY = "accuracy"

    def of(self, counts: PixelCounts) -> float:
        """Return the measure, 0 to 1, of one film or of the pooled pixels of several."""
        return _PIXEL_METRICS[self](counts)


def _share(part: int, whole: int, *, of_nothing: float = math.nan) -> float:
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


def _precision(c: PixelCounts) -> float:
    return _share(c.true_positive, c.true_positive + c.false_positive)


def _accuracy(c: PixelCounts) -> float:
    right = c.true_positive + c.true_negative
    return _share(right, right + c.false_positive + c.false_negative)


_PIXEL_METRICS: Final[dict[PixelMetric, Callable[[PixelCounts], float]]] = {
    PixelMetric.DICE: _dice,
    PixelMetric.IOU: _iou,
    PixelMetric.SENSITIVITY: _sensitivity,
    PixelMetric.SPECIFICITY: _specificity,
    PixelMetric.PRECISION: _precision,
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
            f"got {truth.dtype} of {truth.shape} and {found.dtype} of {found.shape}"
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
