"""What errors in the coefficients of a wavelet do to the film.

An error of one coefficient is spread over the film by the synthesis filters of ISO/IEC 15444-1 Annex F, as many times
as there are resolutions above it. What the networks see is not the samples of a resolution but means of them, over
`OVERSAMPLING` by as many at least (`cxrlib.reading.lattice`), and in those the finest details nearly cancel. So errors
are counted in means of 2 x 2 samples.
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
    """Synthesis filters, of the low and of the high subband."""

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
    """Return how much an error of one in a coefficient moves the means: the root of the sum of squares.

    Of each subband, lowest first: LL, then HL, LH and HH of each of the `levels` resolutions.
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
    """Return how many coefficients each subband has, of all samples."""
    return (0.25**levels, *(0.25 ** (levels - band // 3) for band in range(3 * levels)))


def noise_of(wavelet: Wavelet, steps: Sequence[float]) -> float:
    """Return the standard deviation of the means at most, where coefficients are known to so wide a step.

    The mean square of a coefficient's error is a third of a squared step at most: what is smaller than a step to either
    side becomes 0 (E-1). Of one that is much larger it is a twelfth.

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
    """Return how many bit planes of each subband can be left out so that the means have no more than `noise`.

    Each plane makes a step twice as wide. They are taken where they add least noise for what they save: where step
    times norm is smallest.

    Parameters
    ----------
    wavelet : Wavelet
    steps : sequence of float
        Of coefficients with all their planes, in stored values.
    noise : float
        Standard deviation, in stored values; finite.
    exact : bool
        A coefficient with all its planes is not off at all.
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
