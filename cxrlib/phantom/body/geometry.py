"""Define the grid on which a phantom is drawn, and the signed fields that define its lungs.

The grid has `BASE` points across the short side, independent of the size of the film. Masks are the positive regions of
smooth fields on this grid. The same seed therefore gives the same film and the same truth at any size.
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
#: Largest allowed ratio of the sides of a film.
MAX_ASPECT: Final = 2.0
_MARGIN: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class BodyGrid:
    """The drawing grid in body coordinates.

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
        """Convert body points (n x 2: x, y) to grid coordinates (n x 2: column, row), without the fine warp."""
        bent = points + np.stack([self.bend * (points[:, 1] - 0.5) ** 2, np.zeros(len(points))], axis=1)
        return bent @ self._to_grid[:, :2].T + self._to_grid[:, 2]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> Field:
    """Return smooth noise of mean 0 and unit standard deviation at its knots; `cells` knots (a power of 2) per `BASE`.

    Knots are drawn for the largest possible grid and cropped around the centre. The same seed therefore gives the same
    pattern for every shape, and consumes the same number of random values.
    """
    step = BASE // cells
    most = int(MAX_ASPECT) * cells + 2 * _MARGIN
    knots = rng.standard_normal((most, most), dtype=np.float32)
    # Two extra knots on each side hide the border of the interpolation.
    used = [2 * int(np.ceil(side / step / 2)) + 2 * _MARGIN for side in shape]
    rows, columns = (slice((most - side) // 2, (most + side) // 2) for side in used)
    high, wide = (side * step for side in used)
    fine = cv2.resize(knots[rows, columns], (wide, high), interpolation=cv2.INTER_CUBIC)
    top, left = (high - shape[0]) // 2, (wide - shape[1]) // 2
    return np.asarray(fine[top : top + shape[0], left : left + shape[1]], dtype=np.float32)


def smoothstep(field: Field, low: float, high: float) -> Field:
    """Return 0 below `low`, 1 above `high` and a cubic in between; if `low` exceeds `high`, the step falls."""
    t = np.asarray((field - np.float32(low)) * np.float32(1.0 / (high - low)), dtype=np.float32)
    np.clip(t, 0.0, 1.0, out=t)
    cubic = np.float32(3.0) - np.float32(2.0) * t
    cubic *= t
    cubic *= t
    return cubic


def make_grid(rng: np.random.Generator, anatomy: Anatomy, rows: int, columns: int) -> BodyGrid:
    """Return the grid of a film of `rows` x `columns`. Raises ValueError if their ratio exceeds `MAX_ASPECT`."""
    short = min(rows, columns)
    if short < 1 or max(rows, columns) > MAX_ASPECT * short:
        raise ValueError(
            f"expected positive sides that differ by a factor of at most {MAX_ASPECT}; got {rows} x {columns}"
        )
    # Even sides, so that grids of all shapes have the same centre.
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
    """Signed fields of one lung; all float32, grid rows x columns, in body units.

    Attributes
    ----------
    inside : array
        Approximate signed distance to the outline, positive inside the lung.
    cage : array
        Signed distance to the chest wall, positive inside it.
    medial : array
        Signed distance to the heart and mediastinum, positive on the side of the lung.
    dome : array
        Signed height above the diaphragm.
    across : array
        0 at the midline, 1 at the chest wall.
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


def lung_fields(grid: BodyGrid, lung: Lung) -> LungFields:
    """Compute the signed fields of one lung from its outline."""
    out = grid.x if lung.side > 0 else -grid.x
    lateral = lung.lateral(grid.y)
    above = np.minimum(grid.y, 0.0)
    cage = (lateral - out) * _steepness(lung.lateral)(grid.y) + above
    medial = (out - lung.medial(grid.y)) * _steepness(lung.medial)(grid.y)
    dome = (lung.dome(out) - grid.y) * _steepness(lung.dome)(out)
    inside = np.minimum(np.minimum(cage, medial), np.minimum(dome, grid.y))
    across = out / np.maximum(lateral, np.float32(0.12))
    return LungFields(inside=inside, cage=cage, medial=medial, dome=dome, across=np.asarray(across, dtype=np.float32))
