"""From a film's plane to the body: the grid a phantom is drawn on, and the signed fields that define its lungs.

Everything is drawn on one grid of `BASE` points across the short side, whatever the size of the film, and masks are the
sign of smooth fields on it: so the same seed gives the same film, and the same truth, at any size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.phantom.body.anatomy import CURVE_RANGE, Anatomy, Curve, Lung

Field = NDArray[np.float32]

#: Grid points across the short side of the film.
BASE: Final = 512
#: Longest side over shortest that a film may have.
MAX_ASPECT: Final = 2.0
_MARGIN: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class BodyGrid:
    """The grid in body coordinates.

    Attributes
    ----------
    x, y : float32 array, grid rows x columns
        Body coordinates of each grid point.
    per_unit : float
        Grid points per body unit.
    """

    x: Field
    y: Field
    per_unit: float
    _to_grid: NDArray[np.float64]
    bend: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the grid."""
        rows, columns = self.x.shape
        return int(rows), int(columns)

    def to_grid(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return body points (n x 2, x then y) as grid coordinates (n x 2, column then row), less the fine warp."""
        bent = points + np.stack([self.bend * (points[:, 1] - 0.5) ** 2, np.zeros(len(points))], axis=1)
        return bent @ self._to_grid[:, :2].T + self._to_grid[:, 2]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Field:
    """Return noise of mean 0 and unit deviation at its knots, with `cells` knots (a power of 2) to `BASE` points.

    The knots cover the largest grid there can be and are cropped to this one about the centre, so that the same seed
    draws the same pattern, and the same number of values, whatever the shape.
    """
    step = BASE // cells
    most = int(MAX_ASPECT) * cells + 2 * _MARGIN
    knots = rng.standard_normal((most, most), dtype=np.float32)
    # Two knots more than the grid at each side: the edge of the interpolation must not show.
    used = [2 * int(np.ceil(side / step / 2)) + 2 * _MARGIN for side in shape]
    rows, columns = (slice((most - side) // 2, (most + side) // 2) for side in used)
    high, wide = (side * step for side in used)
    fine = cv2.resize(knots[rows, columns], (wide, high), interpolation=cv2.INTER_CUBIC)
    top, left = (high - shape[0]) // 2, (wide - shape[1]) // 2
    return np.asarray(fine[top : top + shape[0], left : left + shape[1]], dtype=np.float32)


def smoothstep(field: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high` and a cubic between; `low` may exceed `high`."""
    t = np.asarray((field - np.float32(low)) * np.float32(1.0 / (high - low)), dtype=np.float32)
    np.clip(t, 0.0, 1.0, out=t)
    cubic = np.float32(3.0) - np.float32(2.0) * t
    cubic *= t
    cubic *= t
    return cubic


def make_grid(rng: np.random.Generator, anatomy: Anatomy, rows: int, columns: int) -> BodyGrid:
    """Return the grid for a film of `rows` x `columns`, whose sides differ by a factor of `MAX_ASPECT` at most."""
    short = min(rows, columns)
    if short < 1 or max(rows, columns) > MAX_ASPECT * short:
        raise ValueError(
            f"a phantom's sides must be positive and differ by a factor of {MAX_ASPECT} at most: got {rows} x {columns}"
        )
    # Even, so that grids of all shapes share their centre.
    grid_rows, grid_columns = (2 * round(BASE * side / short / 2) for side in (rows, columns))
    per_unit = anatomy.lung_of_film * BASE
    cos, sin = np.cos(anatomy.tilt), np.sin(anatomy.tilt)
    forward = per_unit * np.array([[cos, -sin], [sin, cos]])
    middle = np.array([(anatomy.left.widest - anatomy.right.widest) / 2, 0.5])
    target = np.array([grid_columns / 2, grid_rows / 2]) + BASE * np.array(anatomy.centre) - 0.5
    to_grid = np.concatenate([forward, (target - forward @ middle)[:, None]], axis=1)
    back = np.linalg.inv(forward)
    across = np.arange(grid_columns, dtype=np.float32)[None, :] - np.float32(to_grid[0, 2])
    down = np.arange(grid_rows, dtype=np.float32)[:, None] - np.float32(to_grid[1, 2])
    x = (np.float32(back[0, 0]) * across + np.float32(back[0, 1]) * down).astype(np.float32)
    y = (np.float32(back[1, 0]) * across + np.float32(back[1, 1]) * down).astype(np.float32)
    x += np.float32(0.005) * smooth_noise(rng, (grid_rows, grid_columns), 8)
    y += np.float32(0.005) * smooth_noise(rng, (grid_rows, grid_columns), 8)
    x -= np.float32(anatomy.bend) * (y - np.float32(0.5)) ** 2
    return BodyGrid(x=x, y=y, per_unit=per_unit, _to_grid=to_grid, bend=anatomy.bend)


@dataclass(frozen=True, slots=True, eq=False)
class LungFields:
    """One lung on the grid; all are float32, grid rows x columns, in body units.

    Attributes
    ----------
    inside : signed distance, about: positive inside the lung
    cage : signed distance to the chest wall alone: positive on the body's side of the lateral border
    medial : signed distance to the heart and mediastinum: positive on the lung's side
    dome : signed height above the diaphragm
    across : 0 at the midline, 1 at the chest wall
    """

    inside: Field
    cage: Field
    medial: Field
    dome: Field
    across: Field


def _steepness(curve: Curve) -> Curve:
    low, high = CURVE_RANGE
    slope = np.gradient(curve.table.astype(np.float64), (high - low) / (len(curve.table) - 1))
    return Curve((1.0 / np.sqrt(1.0 + np.minimum(slope**2, 36.0))).astype(np.float32))


def lung_fields(frame: BodyGrid, lung: Lung) -> LungFields:
    """Return the signed fields of one lung, from its borders."""
    out = frame.x if lung.side > 0 else -frame.x
    lateral = lung.lateral(frame.y)
    above = np.minimum(frame.y, 0.0)
    cage = (lateral - out) * _steepness(lung.lateral)(frame.y) + above
    medial = (out - lung.medial(frame.y)) * _steepness(lung.medial)(frame.y)
    dome = (lung.dome(out) - frame.y) * _steepness(lung.dome)(out)
    inside = np.minimum(np.minimum(cage, medial), np.minimum(dome, frame.y))
    across = out / np.maximum(lateral, np.float32(0.12))
    return LungFields(inside=inside, cage=cage, medial=medial, dome=dome, across=np.asarray(across, dtype=np.float32))
