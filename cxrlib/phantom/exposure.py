"""Turn attenuation into grey values: detector response, processing, noise, collimator shadow and annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import View
from cxrlib.phantom.body.geometry import BASE, Field

_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True, slots=True)
class Exposure:
    """How one film is exposed and processed.

    Attributes
    ----------
    lung_grey, dense_grey : float
        Grey of aerated lung and of the abdomen, in [0, 1].
    boost : float
        Local contrast added by image processing, net of the loss by scatter.
    gamma : float
        Exponent of the display curve.
    blur : float
        Standard deviation of the blur, in grid points (512 across the short side).
    noise : float
        Standard deviation of the quantum noise in the lung, in grey.
    grain : float
        Correlation length of the noise, in pixels of the film.
    """

    lung_grey: float
    dense_grey: float
    boost: float
    gamma: float
    blur: float
    noise: float
    grain: float


def sample_exposure(rng: np.random.Generator) -> Exposure:
    """Return an exposure drawn from `rng`."""
    return Exposure(
        lung_grey=float(np.clip(rng.normal(0.31, 0.10), 0.14, 0.56)),
        dense_grey=float(rng.uniform(0.76, 1.02)),
        boost=float(rng.uniform(0.0, 0.9)),
        gamma=float(np.exp(rng.normal(0.0, 0.14))),
        blur=float(rng.uniform(0.4, 1.3)),
        noise=float(np.exp(rng.uniform(np.log(0.0015), np.log(0.014)))),
        grain=float(rng.uniform(0.0, 0.8)),
    )


def develop(cm: Field, reference_cm: Field, lung: NDArray[np.bool_], exposure: Exposure) -> Field:
    """Return the noise-free film in [0, 1], white where dense.

    Parameters
    ----------
    cm : float32 array
        Water-equivalent depth along each ray.
    reference_cm : float32 array
        The same without infection. It determines the exposure, so that disease brightens the lung only.
    lung : bool array
        Mask of both lungs.
    """
    low = float(np.quantile(reference_cm[lung][::7], 0.3))
    body = reference_cm[::4, ::4]
    high = float(np.quantile(body[body > 5.0], 0.88))
    small = cv2.resize(cm, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    wide = cv2.resize(cv2.GaussianBlur(small, (0, 0), 0.05 * BASE / 8), cm.shape[::-1], interpolation=cv2.INTER_CUBIC)
    t = cm + np.float32(exposure.boost) * (cm - wide)
    t = np.asarray(cv2.GaussianBlur(t, (0, 0), exposure.blur), dtype=np.float32)
    t = (t - np.float32(low)) * np.float32(1.0 / max(high - low, 3.0))
    grey = np.float32(exposure.lung_grey) + np.float32(exposure.dense_grey - exposure.lung_grey) * t
    # Shoulder and toe of the characteristic curve, so that nothing is clipped abruptly.
    knee = np.float32(0.72)
    grey = np.where(grey > knee, knee + (1 - knee) * np.tanh((grey - knee) / (1 - knee)), grey)
    toe = np.float32(0.2)
    grey = np.where(grey < toe, toe * np.exp(np.minimum((grey - toe) / toe, 0.0)), grey)
    return np.asarray(np.clip(grey, 0.0, 1.0) ** np.float32(exposure.gamma), dtype=np.float32)


def add_noise(rng: np.random.Generator, film: Field, exposure: Exposure) -> Field:
    """Return the film with quantum noise, which is stronger where few quanta arrive, clipped to [0, 1]."""
    noise = rng.standard_normal(film.shape, dtype=np.float32)
    if exposure.grain > 0.3:
        # A Gaussian blur of s pixels reduces the standard deviation to about 1 / (2 s sqrt(pi)).
        noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), exposure.grain), dtype=np.float32)
        noise *= np.float32(max(1.0, 2.0 * exposure.grain * np.sqrt(np.pi)))
    noise *= np.float32(exposure.noise) * (0.4 + 1.6 * film)
    noise += film
    return np.asarray(np.clip(noise, 0.0, 1.0, out=noise), dtype=np.float32)


def add_annotations(rng: np.random.Generator, film: Field, view: View, lung: NDArray[np.bool_]) -> Field:
    """Return the film with collimator shadow, black boxes and side marker, none of which covers lung."""
    canvas = film.copy()
    rows, columns = (int(side) for side in film.shape)
    down, across = np.flatnonzero(lung.any(axis=1)), np.flatnonzero(lung.any(axis=0))
    top, bottom, first, last = int(down[0]), int(down[-1]), int(across[0]), int(across[-1])
    if rng.random() < 0.35:
        _add_collimator_shadow(rng, canvas, (top, bottom, first, last))
    if rng.random() < 0.12:
        # De-identified films often have black boxes in their corners.
        high, wide = int(rng.uniform(0.03, 0.09) * rows), int(rng.uniform(0.08, 0.2) * columns)
        for box in (np.s_[: min(high, top), :wide], np.s_[: min(high, top), columns - wide :]):
            canvas[box] = 0.0
    if rng.random() < 0.7:
        left_marker = rng.random() < 0.5
        text = ("L" if left_marker else "R") if rng.random() < 0.8 else str(view.value)
        size = float(rng.uniform(0.7, 1.6))
        wide = round(22 * size * len(text))
        x = columns - wide - int(rng.uniform(4, 20)) if left_marker else int(rng.uniform(4, 20))
        y = int(rng.uniform(0.06, 0.3) * rows)
        white = np.float32(rng.uniform(0.85, 1.0))
        text_mask = np.zeros(film.shape, dtype=np.uint8)
        cv2.putText(text_mask, text, (x, y), _FONT, size, 255, max(1, round(2 * size)), cv2.LINE_AA)
        if not (lung & (text_mask > 0)).any():
            canvas += (white - canvas) * (text_mask * np.float32(1 / 255))
    return canvas


def _add_collimator_shadow(rng: np.random.Generator, canvas: Field, box: tuple[int, int, int, int]) -> None:
    rows, columns = canvas.shape
    top, bottom, first, last = box
    # Some scatter reaches behind the collimator, so that no row there is constant.
    scatter = cv2.resize(
        cv2.GaussianBlur(canvas[::8, ::8], (0, 0), 8.0), (columns, rows), interpolation=cv2.INTER_LINEAR
    )
    shade = np.float32(0.01 if rng.random() < 0.85 else rng.uniform(0.82, 0.9)) + np.float32(0.07) * scatter
    lean = float(rng.normal(0.0, 0.012))
    ragged = np.arange(columns, dtype=np.float32)[None, :] * np.float32(lean)
    upright = np.arange(rows, dtype=np.float32)[:, None] * np.float32(lean)
    row, column = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None, :]
    depth = rng.uniform(0.0, 1.0, 4) * (rng.random(4) < 0.6)
    slack = abs(lean) * max(rows, columns) + 4
    reach = (max(top - slack, 0), max(rows - bottom - slack, 0), max(first - slack, 0), max(columns - last - slack, 0))
    shares = depth * np.array([0.8, 0.6, 0.8, 0.8])
    from_edge = (row - ragged, rows - row + ragged, column + upright, columns - column - upright)
    for share, room, inward in zip(shares.tolist(), reach, from_edge, strict=True):
        if share:
            np.copyto(canvas, shade, where=inward < np.float32(share * room))
