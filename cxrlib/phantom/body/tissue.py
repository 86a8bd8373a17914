"""Compute the attenuation of soft tissue and air along each ray, in water-equivalent centimetres.

A film shows the logarithm of the transmitted radiation, which is the sum of the attenuation along the ray (Beer-Lambert
law). The phantom therefore adds up water-equivalent centimetres: the body outline minus the air in lungs, trachea and
stomach.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from cxrlib.phantom.body.anatomy import Anatomy
from cxrlib.phantom.body.geometry import BodyGrid, Field, LungFields, smooth_noise, smoothstep

#: Depth of an adult's lungs along the ray in cm, and the share of air in it.
LUNG_CM: Final = 15.0
AIR: Final = 0.74


def round_profile(distance: Field, reach: float) -> Field:
    """Return the relative chord length of a cylinder: 0 at its edge, 1 at `reach` and further inside."""
    t = np.clip(distance * np.float32(1.0 / reach), 0.0, 1.0)
    return np.asarray(np.sqrt(t * (2.0 - t)), dtype=np.float32)


def body_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    """Return the water-equivalent depth of trunk, shoulders, neck and arms in cm, as if lungs were solid."""
    x, y = grid.x, grid.y
    out = np.abs(x)
    half = max(anatomy.right.widest, anatomy.left.widest) + anatomy.build
    shoulder = float(rng.uniform(0.22, 0.34))
    waist = np.float32(half) + np.float32(shoulder) * smoothstep(y, 0.42, -0.05)
    waist += np.float32(rng.normal(0.04, 0.05)) * smoothstep(y, 0.7, 1.3)
    ratio = np.minimum(out / waist, 1.0)
    depth = 20.5 + 32.0 * (anatomy.build - 0.1)
    ratio *= ratio
    trunk = np.float32(depth) * np.sqrt(1.0 - ratio * ratio**0.25)
    slope = float(rng.uniform(0.22, 0.38))
    line = np.float32(-0.19 + rng.normal(0.0, 0.02)) + np.float32(slope) * np.maximum(out - np.float32(0.16), 0.0)
    trunk *= round_profile(y - line, 0.32)
    neck = np.float32(12.0) * np.sqrt(np.clip(1.0 - (x * np.float32(1.0 / 0.215)) ** 2, 0.0, 1.0))
    neck *= smoothstep(y, 0.12, -0.02)
    total = np.maximum(trunk, neck)
    if anatomy.arms_down:
        axis = np.float32(half + 0.15) + np.float32(0.08) * y
        radius = np.float32(0.105 + 0.4 * anatomy.build)
        chord = np.sqrt(np.clip(1.0 - ((out - axis) / radius) ** 2, 0.0, 1.0))
        total = np.maximum(total, (50.0 * radius) * chord * smoothstep(y, -0.02, 0.22))
    if anatomy.female and anatomy.age_years > 14.0:
        total += _breasts(rng, grid, anatomy)
    # Fat and muscle are not a perfect cylinder.
    total *= 1.0 + np.float32(0.012) * smooth_noise(rng, grid.shape, 8)
    return np.asarray(total, dtype=np.float32)


def _breasts(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    size = float(rng.uniform(0.2, 0.34) * (0.8 + anatomy.build))
    low = float(rng.uniform(0.66, 0.86))
    thick = float(rng.uniform(0.8, 3.2))
    out = np.abs(grid.x)
    r2 = ((out - np.float32(0.33)) / np.float32(size * 1.15)) ** 2 + (
        (grid.y - np.float32(low)) / np.float32(size)
    ) ** 2
    cap = np.sqrt(np.clip(1.0 - r2, 0.0, 1.0))
    return np.asarray(
        np.float32(thick) * cap * smoothstep(grid.y, low - 1.0 * size, low + 0.75 * size), dtype=np.float32
    )


def aeration(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy, lungs: tuple[LungFields, LungFields]) -> Field:
    """Return the depth of aerated lung along each ray in cm, both lungs together.

    It includes lung behind the heart and behind the diaphragm, as on a real film, although the masks exclude it.
    """
    # Heart and diaphragm move during the exposure.
    edge = 0.6 / grid.per_unit
    beat = edge + float(rng.uniform(0.0, 0.010))
    total = np.zeros(grid.shape, dtype=np.float32)
    behind_heart = float(rng.uniform(0.18, 0.5))
    recess = float(rng.uniform(0.12, 0.35))
    for fields in lungs:
        wall = round_profile(fields.cage, 0.30)
        apex = 0.45 + 0.55 * smoothstep(grid.y, 0.0, 0.28)
        heart = smoothstep(fields.medial, -beat, beat)
        heart += (1.0 - heart) * np.float32(behind_heart) * smoothstep(fields.medial, -0.16, 0.02)
        heart *= smoothstep(fields.across, 0.03, 0.12)
        below = np.exp(np.minimum(fields.dome, 0.0) * np.float32(1.0 / 0.06)) * np.float32(recess)
        dome = smoothstep(fields.dome, -0.7 * beat, 0.7 * beat)
        dome += (1.0 - dome) * below
        thick = wall * apex * heart * dome
        thick *= smoothstep(grid.y, -edge, 0.02)
        total += thick
    # Lungs are deeper in their lower half.
    total *= np.float32(LUNG_CM) * (0.82 + 0.18 * smoothstep(grid.y, 0.1, 0.55))
    return np.asarray(total, dtype=np.float32)


def airway_and_stomach_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy, left: LungFields) -> Field:
    """Return the depth of air outside the lungs in cm: trachea, main bronchi, gastric bubble and bowel gas."""
    x, y = grid.x, grid.y
    shift = float(rng.normal(-0.008, 0.008))
    carina = float(rng.uniform(0.26, 0.31))
    air = smoothstep(np.abs(x - np.float32(shift)), 0.042, 0.022) * smoothstep(y, carina + 0.03, carina - 0.02)
    for slope in (-0.75, 1.15):
        run = y - np.float32(carina)
        tube = smoothstep(np.abs(x - np.float32(shift) - np.float32(slope) * run), 0.036, 0.012)
        air = np.maximum(
            air, 0.8 * tube * smoothstep(y, carina - 0.02, carina + 0.02) * smoothstep(y, carina + 0.15, carina + 0.07)
        )
    total = np.float32(rng.uniform(1.8, 3.4)) * air
    if anatomy.gastric_bubble:
        wide, high = float(rng.uniform(0.06, 0.13)), float(rng.uniform(0.03, 0.075))
        top = float(anatomy.left.dome_top) + 0.035
        cx, cy = float(rng.uniform(0.2, 0.32)), top + high
        r2 = ((x - np.float32(cx)) / np.float32(wide)) ** 2 + ((y - np.float32(cy)) / np.float32(high)) ** 2
        bubble = smoothstep(r2, 1.15, 0.75) * np.sqrt(np.clip(1.25 - 0.8 * r2, 0.0, 1.0))
        total += np.float32(rng.uniform(2.0, 5.5)) * bubble * smoothstep(left.dome, -0.012, -0.024)
    if rng.random() < 0.6:
        gas = smooth_noise(rng, grid.shape, 16)
        low = anatomy.right.dome_top + 0.2
        total += np.float32(rng.uniform(0.4, 1.6)) * smoothstep(gas, 0.5, 1.3) * smoothstep(y, low, low + 0.2)
    return np.asarray(total, dtype=np.float32)


def mediastinum_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    """Return the depth that heart and great vessels add to the body outline, in cm."""
    x, y = grid.x, grid.y
    cx, cy = 0.06 * anatomy.heart, 0.66
    across = (x - np.float32(cx)) / np.float32(0.24 * anatomy.heart)
    down = (y - np.float32(cy)) / np.float32(0.25)
    heart = np.sqrt(np.clip(1.0 - across * across - down * down + 0.35 * across * down, 0.0, 1.0))
    vessels = smoothstep(np.abs(x), 0.10, 0.03) * smoothstep(y, 0.08, 0.3) * smoothstep(y, 0.75, 0.5)
    descending = smoothstep(np.abs(x - np.float32(0.075)), 0.045, 0.025) * smoothstep(y, 0.24, 0.3)
    total = np.float32(rng.uniform(1.0, 2.6)) * heart + np.float32(1.6) * vessels + np.float32(0.5) * descending
    return np.asarray(total, dtype=np.float32)
