"""Compute how much errors in wavelet coefficients change the film, and which bit planes can therefore be left out.

The synthesis filters of ISO/IEC 15444-1 Annex F spread an error of one coefficient over the film, once for each
resolution above it. The networks do not see the samples of a resolution but means of at least `OVERSAMPLING` x
`OVERSAMPLING` of them (`cxrlib.reading.lattice`), in which the finest details nearly cancel. So the error is that of
means of 2 x 2 samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.lattice import OVERSAMPLING

_MEAN: Final = np.full(OVERSAMPLING, 1 / OVERSAMPLING)


class Wavelet(Enum):
    """A wavelet: its synthesis filters of the low and of the high subband."""

    REVERSIBLE_5_3 = ((0.5, 1.0, 0.5), (-0.125, -0.25, 0.75, -0.25, -0.125))
    IRREVERSIBLE_9_7 = (
        (
            -0.091271763114250,
            -0.057543526228500,
            0.591271763114250,
            1.115087052457000,
            0.591271763114250,
            -0.057543526228500,
            -0.091271763114250,
        ),
        (
            0.026748757410810,
            0.016864118442875,
            -0.078223266528990,
            -0.266864118442875,
            0.602949018236360,
            -0.266864118442875,
            -0.078223266528990,
            0.016864118442875,
            0.026748757410810,
        ),
    )


@cache
def norms(wavelet: Wavelet, levels: int) -> tuple[float, ...]:
    """Return how much an error of 1 in a coefficient of each subband changes the means: the root sum of squares.

    Subbands are ordered lowest first: LL, then HL, LH and HH of each of the `levels` resolutions.
    """
    low = np.ones(1)
    found: tuple[float, ...] = ()
    for level in range(levels):
        high = np.convolve(_upsampled(wavelet.value[1], level), low)
        low = np.convolve(_upsampled(wavelet.value[0], level), low)
        of_low, of_high = _of_means(low), _of_means(high)
        found = (of_low * of_high, of_low * of_high, of_high * of_high, *found)
    return (_of_means(low) ** 2, *found)


@cache
def shares(levels: int) -> tuple[float, ...]:
    """Return the number of coefficients in each subband as a share of all samples."""
    return (0.25**levels, *(0.25 ** (levels - band // 3) for band in range(3 * levels)))


def noise_of(wavelet: Wavelet, steps: Sequence[float]) -> float:
    """Return the largest standard deviation of the means, where coefficients are quantised with `steps`.

    The mean squared error of a coefficient is at most a third of the squared step, because everything smaller than a
    step becomes 0 (E-1). For coefficients much larger than a step it is a twelfth.

    Parameters
    ----------
    wavelet : Wavelet
    steps : sequence of float
        Of each subband, as `norms` orders them; 0 where coefficients are exact.
    """
    levels = len(steps) // 3
    bands = zip(shares(levels), norms(wavelet, levels), steps, strict=True)
    return math.sqrt(sum(share * (norm * step) ** 2 for share, norm, step in bands) / 3)


def spare_planes(wavelet: Wavelet, steps: Sequence[float], noise: float, *, exact: bool) -> tuple[int, ...]:
    """Return how many bit planes of each subband can be left out so that the means have at most `noise`.

    Each plane doubles the step. Planes are left out where step times norm is smallest: there they add least noise for
    the time that they save.

    Parameters
    ----------
    wavelet : Wavelet
    steps : sequence of float
        Of coefficients with all their planes, in stored values, as `norms` orders them.
    noise : float
        Standard deviation, in stored values; finite.
    exact : bool
        A coefficient with all its planes has no error.
    """
    weights = [norm * step for norm, step in zip(norms(wavelet, len(steps) // 3), steps, strict=True)]
    planes = [0] * len(steps)
    while True:
        band = min(range(len(steps)), key=lambda each: weights[each] * 2.0 ** planes[each])
        planes[band] += 1
        found = (step * 2.0**spare if spare or not exact else 0.0 for step, spare in zip(steps, planes, strict=True))
        if noise_of(wavelet, tuple(found)) > noise:
            planes[band] -= 1
            return tuple(planes)


def _upsampled(kernel: Sequence[float], level: int) -> NDArray[np.float64]:
    wide = np.zeros(2**level * (len(kernel) - 1) + 1)
    wide[:: 2**level] = kernel
    return wide


def _of_means(line: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(np.convolve(line, _MEAN)))
