"""Draw the person and the positioning of one synthetic film at random.

Body coordinates: the origin is on the midline at the height of the lung apices. `y` points down and is 1 at the deepest
costophrenic angle. `x` has the same unit and points to the patient's left, which is on the right of the image.

The lung borders follow the mean and the spread of about 330 lung masks that exclude the heart shadow and lung below the
diaphragm (Shiraishi et al. 2000, JSRT; van Ginneken et al. 2006, SCR; Tahir et al. 2021, COVID-QU-Ex).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from cxr_schemas import View

#: Range of body coordinates that a `Curve` covers; outside it, the curve has its end values.
CURVE_RANGE: Final = (-1.5, 2.5)
_CURVE_POINTS: Final = 16384


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A smooth function of one body coordinate, stored as a fine table for fast evaluation."""

    table: NDArray[np.float32]

    @classmethod
    def through(cls, at: NDArray[np.float64], values: NDArray[np.float64], *, root: bool = False) -> Curve:
        """Return the monotone cubic through the points; `root` interpolates in sqrt(`at`), for a vertical start."""
        grid = np.linspace(*CURVE_RANGE, _CURVE_POINTS)
        knots, points = (np.sqrt(at), np.sqrt(np.maximum(grid, 0.0))) if root else (at, grid)
        spline = PchipInterpolator(knots, values, extrapolate=True)
        return cls(spline(np.clip(points, knots[0], knots[-1])).astype(np.float32))

    def __call__(self, at: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values at body coordinates `at`, any shape."""
        low, high = CURVE_RANGE
        index = (at - np.float32(low)) * np.float32((_CURVE_POINTS - 1) / (high - low)) + np.float32(0.5)
        return np.take(self.table, index.astype(np.int32), mode="clip")


@dataclass(frozen=True, slots=True, eq=False)
class Lung:
    """Outline of one lung: `medial` and `lateral` are |x| as functions of y, `dome` is y as a function of |x|."""

    side: int
    medial: Curve
    lateral: Curve
    dome: Curve
    dome_top: float
    widest: float


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """One person, positioned for one film. Lengths are in body units unless stated otherwise.

    Attributes
    ----------
    lung_mm : float
        Length of one body unit, in mm.
    lung_of_film : float
        Length of one body unit, as a share of the film's short side.
    tilt : float
        Rotation in the film plane, in radians.
    bend : float
        Curvature of the midline.
    build : float
        Thickness of the soft tissue outside the rib cage, in body units.
    bone : float
        Bone density relative to a young adult.
    child : float
        0 for an adult, 1 for an infant.
    """

    age_years: float
    view: View
    female: bool
    child: float
    lung_mm: float
    lung_of_film: float
    centre: tuple[float, float]
    tilt: float
    bend: float
    build: float
    bone: float
    heart: float
    arms_down: bool
    inspiration: float
    right: Lung
    left: Lung
    gastric_bubble: bool


_Y: Final = np.array([0.0, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
_LATERAL_R: Final = np.array([0.20, 0.275, 0.358, 0.425, 0.46, 0.48, 0.494, 0.506, 0.52, 0.532, 0.536, 0.515])
_LATERAL_L: Final = np.array([0.18, 0.25, 0.325, 0.391, 0.425, 0.446, 0.461, 0.474, 0.488, 0.502, 0.508, 0.49])
_MEDIAL_R: Final = np.array([0.175, 0.132, 0.092, 0.09, 0.10, 0.12, 0.136, 0.155, 0.17, 0.178, 0.176, 0.17])
_MEDIAL_L: Final = np.array([0.15, 0.105, 0.062, 0.07, 0.108, 0.114, 0.15, 0.214, 0.277, 0.318, 0.335, 0.335])


def _age(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.5, 15.0) if rng.random() < 0.13 else np.clip(rng.normal(54.0, 17.0), 16.0, 95.0))


def _lung(rng: np.random.Generator, *, side: int, width: float, heart: float, top: float, old: float) -> Lung:
    right = side < 0
    lateral = (_LATERAL_R if right else _LATERAL_L) * width
    # A slow random curve along the border models the variation between people that width does not explain.
    lateral = lateral + np.interp(_Y, [0.0, 0.5, 1.0], rng.normal(0.0, [0.008, 0.014, 0.018]))
    medial = (_MEDIAL_R if right else _MEDIAL_L).copy()
    lower = np.clip((_Y - 0.35) / 0.3, 0.0, 1.0)
    medial = medial + lower * (medial - 0.06) * (heart - 1.0)
    medial = medial + np.interp(_Y, [0.0, 0.3, 0.6, 1.0], rng.normal(0.0, [0.004, 0.008, 0.014, 0.014]))
    # Add features that the mean border averages out: aortic knuckle (larger with age), bay, ventricle; cava, atrium.
    y = np.linspace(0.0, 1.0, 41)
    medial = PchipInterpolator(np.sqrt(_Y), medial)(np.sqrt(y))
    if right:
        bumps: tuple[tuple[float, float, float], ...] = (
            (0.69, 0.10, 0.035 * heart),
            (0.47, 0.06, -0.016),
            (0.95, 0.08, -0.03),
        )
    else:
        bumps = ((0.265, 0.05, 0.012 + 0.03 * old), (0.355, 0.035, -0.012), (0.76, 0.10, 0.03), (0.97, 0.08, -0.03))
    for centre, reach, height in bumps:
        at = centre + rng.normal(0.0, 0.015)
        medial = medial + height * rng.uniform(0.2, 1.2) * np.exp(-(((y - at) / reach) ** 2))
    medial = np.clip(medial, 0.05, np.maximum(np.interp(y, _Y, lateral) - 0.02, 0.06))
    wall = float(lateral[-1])
    peak = wall * float(rng.uniform(0.46, 0.60))
    across = np.array([-0.5, 0.0, 0.3, 0.6, 0.85, 1.0, 1.15, 1.3, 1.45])
    drop = np.array([0.10, 0.055, 0.03, 0.012, 0.002, 0.0, 0.06, 0.24, 0.52])
    x = np.where(across < 1.0, across * peak, peak + (across - 1.0) / 0.45 * (wall - peak))
    foot = float(rng.uniform(0.975, 1.0))
    fall = top + drop / 0.52 * np.where(across > 1.0, foot - top, 0.42)
    fall = fall + np.interp(across, [0.0, 0.6, 1.2, 1.45], [*rng.normal(0.0, [0.012, 0.006, 0.008]), 0.0])
    return Lung(
        side=side,
        medial=Curve.through(y, medial, root=True),
        lateral=Curve.through(_Y, lateral, root=True),
        dome=Curve.through(x, fall),
        dome_top=float(fall.min()),
        widest=float(lateral.max()),
    )


def sample_anatomy(rng: np.random.Generator) -> Anatomy:
    """Return a random person and positioning."""
    age = _age(rng)
    child = float(np.clip((16.0 - age) / 15.0, 0.0, 1.0))
    old = float(np.clip((age - 40.0) / 45.0, 0.0, 1.0))
    view = View.AP if rng.random() < (0.75 if child else 0.35) else View.PA
    width = float(np.clip(rng.normal(1.03 + 0.10 * child + (0.06 if view is View.AP else 0.0), 0.075), 0.84, 1.32))
    heart = float(
        np.clip(rng.normal(1.0 + 0.08 * old + 0.1 * child + (0.1 if view is View.AP else 0.0), 0.14), 0.6, 1.5)
    )
    inspiration = float(rng.normal(0.0, 1.0))
    top = 0.79 + 0.022 * inspiration
    right = _lung(rng, side=-1, width=width, heart=heart, top=top, old=old)
    left = _lung(rng, side=1, width=width, heart=heart, top=top + float(rng.normal(0.035, 0.018)), old=old)
    lung_of_film = float(rng.uniform(0.42, 0.68) if child else rng.uniform(0.54, 0.86))
    tilt = float(np.deg2rad(np.clip(rng.normal(0.0, 2.2), -7.0, 7.0)))
    span = right.widest + left.widest
    lung_of_film = min(lung_of_film, 0.94 / (span + abs(np.sin(tilt))), 0.95 / (1.0 + span * abs(np.sin(tilt))))
    room = 0.5 - 0.015 - 0.5 * lung_of_film * np.array([span + abs(np.sin(tilt)), 1.0 + span * abs(np.sin(tilt))])
    wanted = rng.normal(0.0, [0.03, 0.035]) - np.array([0.0, 0.02 + 0.10 * child])
    offset = np.clip(wanted, -np.maximum(room, 0.0), np.maximum(room, 0.0))
    return Anatomy(
        age_years=age,
        view=view,
        female=bool(rng.random() < 0.5),
        child=child,
        lung_mm=float(rng.normal(262.0, 16.0) * (0.42 + 0.58 * min(age, 18.0) / 18.0)),
        lung_of_film=float(lung_of_film),
        centre=(float(offset[0]), float(offset[1])),
        tilt=tilt,
        bend=float(rng.normal(0.0, 0.025)),
        build=float(np.clip(rng.gamma(4.0, 0.025) + 0.03, 0.04, 0.26) * (1.0 - 0.4 * child)),
        bone=float(np.clip(rng.normal(1.0 - 0.3 * old, 0.15), 0.4, 1.4)),
        heart=heart,
        arms_down=bool(rng.random() < 0.55),
        inspiration=inspiration,
        right=right,
        left=left,
        gastric_bubble=bool(rng.random() < 0.55),
    )
