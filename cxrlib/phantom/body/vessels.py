"""Draw hila and lung vessels: trees of tapering tubes that branch from each hilum."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from cxrlib.phantom.body.anatomy import Anatomy, Lung
from cxrlib.phantom.body.geometry import BodyGrid, Field, smoothstep

#: Calibre that is drawn as full white, in body units; 0.04 of a 26 cm lung is one centimetre.
_FULL: Final = 0.045
_SHIFT: Final = 5


@dataclass(slots=True)
class _Tip:
    x: float
    y: float
    angle: float
    calibre: float


def _tree(rng: np.random.Generator, lung: Lung, calibre: float) -> list[tuple[float, float, float, float, float]]:
    """Return segments (x0, y0, x1, y1, calibre) of one lung's tree, for a lung on the positive side."""
    hilum_y = 0.38 if lung.side > 0 else 0.41
    hilum_x = 0.115
    segments: list[tuple[float, float, float, float, float]] = []
    trunks = rng.uniform(9, 13)
    tips: deque[_Tip] = deque()
    for k in range(int(trunks)):
        # From straight up and slightly out, through the side, to straight down.
        angle = -1.35 + 2.85 * (k + rng.uniform(0.1, 0.9)) / int(trunks)
        tips.append(_Tip(hilum_x, hilum_y + rng.normal(0, 0.04), angle, calibre * rng.uniform(0.55, 1.0)))
    while tips:
        tip = tips.popleft()
        length = 0.055 * (0.6 + 12.0 * tip.calibre) * rng.uniform(0.8, 1.4)
        bend = rng.normal(0.0, 0.16)
        x1, y1 = tip.x + length * np.cos(tip.angle + bend), tip.y + length * np.sin(tip.angle + bend)
        segments.append((tip.x, tip.y, x1, y1, tip.calibre))
        if tip.calibre < 0.0028 or len(segments) > 500:
            continue
        spread = rng.uniform(0.12, 0.42)
        main = rng.uniform(0.72, 0.92)
        turn = 1.0 if rng.random() < 0.5 else -1.0
        tips.append(_Tip(x1, y1, tip.angle + bend - turn * spread * 0.3, tip.calibre * main))
        if rng.random() < 0.75:
            tips.append(_Tip(x1, y1, tip.angle + bend + turn * spread * 1.5, tip.calibre * (1.02 - 0.55 * main)))
    return segments


def vessels_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    """Return vessels and hila in cm of blood, including those over the heart and outside the lungs."""
    canvas = np.zeros(grid.shape, dtype=np.uint8)
    calibre = float(rng.uniform(0.016, 0.026))
    hila = np.zeros(grid.shape, dtype=np.float32)
    for lung in (anatomy.right, anatomy.left):
        flip = np.array([float(lung.side), 1.0])
        segments = np.array(_tree(rng, lung, calibre))
        segments = segments[np.argsort(segments[:, 4], kind="stable")]
        start = np.round(grid.to_grid(segments[:, 0:2] * flip) * 2**_SHIFT).astype(int)
        stop = np.round(grid.to_grid(segments[:, 2:4] * flip) * 2**_SHIFT).astype(int)
        widths = segments[:, 4] * grid.per_unit
        values = np.clip(255.0 * np.maximum(segments[:, 4], 0.2 * widths / grid.per_unit) / _FULL, 18, 255)
        for (c0, r0), (c1, r1), width, value in zip(start.tolist(), stop.tolist(), widths, values, strict=True):
            # A tube thinner than one grid point is drawn one point wide, but fainter.
            thin = min(1.0, float(width))
            cv2.line(canvas, (c0, r0), (c1, r1), float(value) * thin, max(1, round(float(width))), cv2.LINE_AA, _SHIFT)
        along = (grid.x * np.float32(lung.side) - np.float32(0.12)) / np.float32(0.05)
        down = (grid.y - np.float32(0.40 if lung.side > 0 else 0.43)) / np.float32(0.10)
        hila += np.exp(-(along * along) - down * down)
    soft = np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.9), dtype=np.float32)
    fade = 0.5 + 0.5 * smoothstep(np.abs(grid.x), 0.55, 0.15)
    total = soft * np.float32(0.045 * 26.0 / 255.0 * 5.0) * fade + np.float32(rng.uniform(0.5, 1.8)) * hila
    return np.asarray(total, dtype=np.float32)
