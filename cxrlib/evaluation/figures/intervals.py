"""95 % intervals: in closed form, and from bootstrap resamples.

The closed forms assume independent films. Films of one patient are not, so every figure also has a group bootstrap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from cxrlib.evaluation.figures.statistics import LIMITS_Z, PerFilm

#: Standard normal quantile of a two-sided 95 % interval (qu-ex Eq. 2).
Z: Final = 1.96


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


#: Returns the interval of a figure from its value and its input arrays, without the films left out.
ClosedForm = Callable[[float, tuple[PerFilm, ...]], Interval]


def share_interval(value: float, inputs: tuple[PerFilm, ...]) -> Interval:
    """Return qu-ex Eq. 2, ``m +- z * sqrt(m * (1 - m) / N)`` with N films, cut to [0, 1]."""
    reach = Z * math.sqrt(max(value * (1 - value), 0.0) / inputs[0].size)
    return Interval(max(value - reach, 0.0), min(value + reach, 1.0))


def rank_correlation_interval(value: float, inputs: tuple[PerFilm, ...]) -> Interval:
    """Return Fisher's interval with the standard error of Bonett and Wright (Psychometrika 2000;65:23-28).

    It is ``tanh(atanh(r) +- z * sqrt((1 + r^2 / 2) / (n - 3)))``. Equation 2 of qu-ex is for shares and does not hold.
    """
    n = inputs[0].size
    if abs(value) >= 1:
        return Interval(value, value)
    reach = Z * math.sqrt((1 + value**2 / 2) / (n - 3))
    centre = math.atanh(value)
    return Interval(math.tanh(centre - reach), math.tanh(centre + reach))


def mean_interval(value: float, inputs: tuple[PerFilm, ...]) -> Interval:
    """Return Student's interval of a mean (Bland and Altman, Lancet 1986;327:307-310)."""
    return _student(value, inputs[0], 1 / inputs[0].size)


def limit_interval(value: float, inputs: tuple[PerFilm, ...]) -> Interval:
    """Return the interval of a limit of agreement (Bland and Altman, Stat Methods Med Res 1999;8:135-160, section 2).

    The variance of a limit is that of a difference times ``1 / n + 1.96^2 / (2 * (n - 1))``.
    """
    n = inputs[0].size
    return _student(value, inputs[0], 1 / n + LIMITS_Z**2 / (2 * max(n - 1, 1)))


def _student(value: float, differences: PerFilm, share_of_variance: float) -> Interval:
    n = differences.size
    if n < 2:
        return Interval(math.nan, math.nan)
    reach = float(stats.t.ppf(0.975, n - 1)) * float(np.std(differences, ddof=1)) * math.sqrt(share_of_variance)
    return Interval(value - reach, value + reach)


def bootstrap_interval(values: PerFilm) -> Interval | None:
    """Return the middle 95 % of the resamples in which a figure is defined; None if that is fewer than half of them."""
    defined = values[~np.isnan(values)]
    if defined.size < values.size / 2 or defined.size == 0:
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high))
