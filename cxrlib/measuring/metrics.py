"""Compare a mask with the true mask, pixel by pixel: Dice, IoU, sensitivity and others (qu-ex Eq. 3 to 5).

`cxrlib.evaluation` combines films and computes confidence intervals.
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
    """Confusion counts in pixels, of one film or summed over several."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


class PixelMetric(Enum):
    """Measures of a mask against the true mask; NaN if the denominator is 0.

    Dice and IoU are 1 if both masks are empty.
    """

    DICE = "dice"
    IOU = "iou"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"
    PRECISION = "precision"
    ACCURACY = "accuracy"

    def of(self, counts: PixelCounts) -> float:
        """Return the measure, 0 to 1, of one film or of the summed pixels of several."""
        return _PIXEL_METRICS[self](counts)


def _ratio(part: int, whole: int, *, if_empty: float = math.nan) -> float:
    return part / whole if whole else if_empty


def _dice(c: PixelCounts) -> float:
    both = 2 * c.true_positive
    return _ratio(both, both + c.false_positive + c.false_negative, if_empty=1.0)


def _iou(c: PixelCounts) -> float:
    return _ratio(c.true_positive, c.true_positive + c.false_positive + c.false_negative, if_empty=1.0)


def _sensitivity(c: PixelCounts) -> float:
    return _ratio(c.true_positive, c.true_positive + c.false_negative)


def _specificity(c: PixelCounts) -> float:
    return _ratio(c.true_negative, c.true_negative + c.false_positive)


def _precision(c: PixelCounts) -> float:
    return _ratio(c.true_positive, c.true_positive + c.false_positive)


def _accuracy(c: PixelCounts) -> float:
    right = c.true_positive + c.true_negative
    return _ratio(right, right + c.false_positive + c.false_negative)


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
        The shapes differ, or a mask is not bool.
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
    """Return the Dice similarity of two masks (qu-ex Eq. 5); 1 if both are empty."""
    return PixelMetric.DICE.of(count_pixels(truth, found))


def iou(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    """Return the intersection over union of two masks (qu-ex Eq. 4; inflocnet Eq. 1); 1 if both are empty."""
    return PixelMetric.IOU.of(count_pixels(truth, found))
