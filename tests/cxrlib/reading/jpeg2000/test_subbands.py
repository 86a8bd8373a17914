"""The predicted effect of coefficient errors on means of the film equals that of real errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from cxrlib.reading.jpeg2000.subbands import Wavelet, noise_of, norms, shares, spare_planes


@pytest.mark.parametrize("wavelet", Wavelet)
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_norms_and_shares_predict_the_effect_of_random_errors(wavelet: Wavelet, levels: int) -> None:
    # Every coefficient of a subband is wrong by +1 or -1 at random; the film's means then have this variance.
    random = np.random.default_rng(levels)
    low, high = (np.array(kernel) for kernel in wavelet.value)
    for band, (norm, share) in enumerate(zip(norms(wavelet, levels), shares(levels), strict=True)):
        resolution = (band + 2) // 3
        side = 512 >> (levels - max(resolution - 1, 0) if band else levels)
        errors = random.choice([-1.0, 1.0], size=(side, side))
        across, down = (low, low) if band == 0 else ((high, low), (low, high), (high, high))[(band - 1) % 3]
        film = errors
        while len(film) < 512:
            film = upsampled(upsampled(film, across).T, down).T
            across = down = low
        assert film.reshape(256, 2, 256, 2).mean(axis=(1, 3)).std() ** 2 == pytest.approx(share * norm**2, rel=0.05)


def upsampled(film: NDArray[np.float64], kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows twice as long, by a synthesis filter that wraps around the edge."""
    wide = np.zeros((film.shape[0], 2 * film.shape[1]))
    wide[:, ::2] = film
    middle = len(kernel) // 2
    return sum(weight * np.roll(wide, at - middle, axis=1) for at, weight in enumerate(kernel))


def test_noise_adds_up_over_subbands() -> None:
    wavelet = Wavelet.REVERSIBLE_5_3
    alone = [noise_of(wavelet, [4.0 * (each == band) for each in range(7)]) for band in range(7)]
    assert noise_of(wavelet, [4.0] * 7) == pytest.approx(math.hypot(*alone))
    assert noise_of(wavelet, [0.0] * 7) == 0.0


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("wavelet", Wavelet)
@pytest.mark.parametrize("exact", [True, False])
def test_planes_are_left_out_within_the_noise_and_where_they_add_least(
    wavelet: Wavelet, exact: bool, noise: float
) -> None:
    steps = [1.0, 1.0, 0.5, 2.0, 1.0, 0.25, 1.5]
    planes = spare_planes(wavelet, steps, noise, exact=exact)

    def noise_with(planes: Sequence[int]) -> float:
        found = zip(steps, planes, strict=True)
        return noise_of(wavelet, [step * 2.0**plane if plane or not exact else 0.0 for step, plane in found])

    assert noise_with(planes) <= noise or not any(planes)
    weights = [norm * step for norm, step in zip(norms(wavelet, 2), steps, strict=True)]
    left = [weight * 2.0**plane for weight, plane in zip(weights, planes, strict=True)]
    assert max((weight / 2 for weight, plane in zip(left, planes, strict=True) if plane), default=0.0) <= min(left)
    least = left.index(min(left))
    assert noise_with([plane + (band == least) for band, plane in enumerate(planes)]) > noise
