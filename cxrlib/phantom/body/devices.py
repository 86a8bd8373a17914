"""Draw medical devices: electrodes with leads, tubes, central lines and pacemakers."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from cxr_schemas import View
from cxrlib.phantom.body.anatomy import Anatomy
from cxrlib.phantom.body.geometry import BodyGrid, Field

_SHIFT: Final = 5
#: Water-equivalent cm of the drawing's full white (255).
_FULL_CM: Final = 6.0


def devices_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy, *, ill: bool) -> Field | None:
    """Return devices in water-equivalent cm, or None without devices. Ill patients and AP films have more of them."""
    likely = 0.10 + 0.22 * ill + 0.22 * (anatomy.view is View.AP)
    if rng.random() > likely:
        return None
    canvas = np.zeros(grid.shape, dtype=np.uint8)
    if rng.random() < 0.7:
        _electrodes(rng, canvas, grid)
    if rng.random() < 0.35:
        side = float(rng.choice([-1.0, 1.0]))
        _line(
            canvas, grid, np.array([[side * 0.45, 0.02], [side * 0.18, 0.10], [-0.03, 0.26], [-0.06, 0.45]]), 0.008, 70
        )
    if rng.random() < 0.3:
        _line(canvas, grid, np.array([[0.01, -0.35], [-0.005, -0.1], [0.0, 0.1], [-0.003, 0.2]]), 0.012, 60)
    if rng.random() < 0.3:
        _line(canvas, grid, np.array([[0.0, -0.35], [0.01, 0.2], [0.03, 0.7], [0.16, 0.98]]), 0.011, 60)
    if anatomy.age_years > 55 and rng.random() < 0.25:
        _pacemaker(rng, canvas, grid)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.7)
    return np.asarray(soft, dtype=np.float32) * np.float32(_FULL_CM / 255.0)


def _electrodes(rng: np.random.Generator, canvas: NDArray[np.uint8], grid: BodyGrid) -> None:
    for _ in range(int(rng.integers(2, 5))):
        at = np.array([float(rng.choice([-1.0, 1.0]) * rng.uniform(0.15, 0.55)), float(rng.uniform(0.0, 1.0))])
        column, row = (int(v) for v in np.round(grid.to_grid(at[None])[0] * 2**_SHIFT))
        radius = round(float(rng.uniform(0.012, 0.024)) * grid.per_unit * 2**_SHIFT)
        cv2.circle(canvas, (column, row), radius, 110, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, (column, row), radius // 2, 200, -1, cv2.LINE_AA, _SHIFT)
        end = np.array([at[0] + rng.normal(0.0, 0.25), float(rng.choice([-0.4, 1.5]))])
        middle = (at + end) / 2 + rng.normal(0.0, 0.08, 2)
        _line(canvas, grid, np.array([at, middle, end]), 0.005, 80)


def _pacemaker(rng: np.random.Generator, canvas: NDArray[np.uint8], grid: BodyGrid) -> None:
    centre = np.array([0.38, 0.16]) + rng.normal(0.0, 0.02, 2)
    angles = np.linspace(0.0, 2 * np.pi, 24, endpoint=False)
    outline = centre + np.stack([0.075 * np.cos(angles), 0.06 * np.sin(angles)], axis=1)
    fixed = np.round(grid.to_grid(outline) * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], 230, cv2.LINE_AA, _SHIFT)
    _line(canvas, grid, np.array([centre, [0.2, 0.12], [0.0, 0.25], [-0.06, 0.6], [0.12, 0.76]]), 0.007, 150)


def _line(canvas: NDArray[np.uint8], grid: BodyGrid, points: NDArray[np.float64], width: float, value: int) -> None:
    knots = np.arange(len(points), dtype=np.float64)
    path = CubicSpline(knots, points)(np.linspace(0.0, knots[-1], 16 * len(points)))
    fixed = np.round(grid.to_grid(path) * 2**_SHIFT).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, value, max(1, round(width * grid.per_unit)), cv2.LINE_AA, _SHIFT)
