"""Draw bones: ribs, spine, clavicles, scapulae and upper arms, in water-equivalent centimetres."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.phantom.body.anatomy import Anatomy
from cxrlib.phantom.body.geometry import BodyGrid, Field, LungFields, smoothstep

#: Fixed-point bits of the coordinates that OpenCV draws with.
_SHIFT: Final = 5
_PROFILE_POINTS: Final = 256


def _rib_profile(width: float, cortex: float) -> NDArray[np.float32]:
    """Return the density across one rib pitch: a tube with a wall, `width` of the pitch wide, denser at the bottom."""
    t = (np.arange(_PROFILE_POINTS) + 0.5) / _PROFILE_POINTS - 0.5
    u = np.abs(t) / (width / 2)
    body = np.clip((1.06 - u) / 0.14, 0.0, 1.0)
    wall = cortex * np.exp(-(((u - 0.86) / 0.15) ** 2)) * np.where(t > 0, 1.25, 0.75)
    return np.asarray((0.62 * body + wall) * (u < 1.3), dtype=np.float32)


def ribs_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy, lungs: tuple[LungFields, LungFields]) -> Field:
    """Return the ribs of both sides: posterior arcs slope down from the spine, anterior arcs slope down to the front.

    All ribs of a side are drawn at once: a phase increases by 1 from one rib to the next, and its fractional part
    indexes a table of the density across a rib.
    """
    total = np.zeros(grid.shape, dtype=np.float32)
    pitch = float(rng.normal(0.094, 0.004) + 0.004 * anatomy.inspiration)
    fall = float(rng.uniform(0.12, 0.20) * (1.0 - 0.4 * anatomy.child) + 0.015 * anatomy.inspiration)
    front_fall = float(rng.uniform(0.17, 0.30) * (1.0 - 0.3 * anatomy.child))
    start = float(rng.normal(-0.03, 0.012))
    cortex = float(rng.uniform(0.3, 0.55))
    posterior = _rib_profile(float(rng.uniform(0.36, 0.46)), cortex)
    anterior = _rib_profile(float(rng.uniform(0.42, 0.52)), 0.6 * cortex)
    end = float(rng.uniform(1.06, 1.18))
    strength = float(rng.uniform(0.7, 1.7))
    for fields in lungs:
        q = np.clip(fields.across, 0.0, 1.25)
        q2 = q * q
        # Near the side of the chest, rays run along the ribs and cross more bone.
        grazing = 0.9 / np.sqrt(1.22 - np.minimum(q2, 1.0) * 0.92)
        in_wall = smoothstep(fields.cage, -0.028, -0.008)
        jitter = float(rng.normal(0.0, 0.006))
        back = (
            grid.y
            - np.float32(fall) * (q2 * 0.35 + q2 * q2 * 0.65)
            + np.float32(0.035) * q
            - np.float32(start + jitter)
        )
        phase = back * np.float32(1.0 / pitch)
        span = smoothstep(phase, -0.5, 0.0) * smoothstep(phase, 11.9, 11.2) * smoothstep(q, 0.06, 0.14)
        covered = 1.0 - 0.45 * smoothstep(fields.dome, 0.02, -0.06)
        total += np.float32(0.95) * covered * _lookup(posterior, phase) * grazing * in_wall * span
        turn = np.float32(fall - 0.035 + start + jitter)
        front = grid.y - turn - np.float32(front_fall) * (1.0 - q2) - np.float32(0.05) * (1.0 - q)
        phase = front * np.float32(1.0 / (pitch * 1.06))
        reach = (
            smoothstep(q, 0.28, 0.40)
            * smoothstep(phase, -0.5, 0.2)
            * smoothstep(phase, 8.4, 6.4)
            * smoothstep(grid.y, end, end - 0.2)
        )
        # Where rays are tangential to the cage, its inner wall appears as a line.
        line = np.exp(-(((fields.cage + np.float32(0.012)) * np.float32(1 / 0.011)) ** 2)) * smoothstep(
            grid.y, 0.0, 0.1
        )
        total += np.float32(0.75) * line * smoothstep(grid.y, 1.15, 1.0)
        total += np.float32(0.55) * _lookup(anterior, phase) * grazing * in_wall * reach
    return np.asarray(total * np.float32(strength * anatomy.bone), dtype=np.float32)


def _lookup(profile: NDArray[np.float32], phase: Field) -> Field:
    index = (phase * np.float32(_PROFILE_POINTS)).astype(np.int32) & (_PROFILE_POINTS - 1)
    return np.take(profile, index)


def spine_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    """Return vertebral bodies, discs, pedicles and spinous processes along the midline."""
    half = 0.062 + 0.012 * (1.0 - anatomy.child)
    curve = np.float32(rng.normal(0.0, 0.010)) * np.sin(np.float32(3.0) * grid.y + np.float32(rng.uniform(0, 6)))
    x = grid.x - curve
    pitch = float(rng.normal(0.083, 0.003))
    phase = grid.y * np.float32(1.0 / pitch)
    part = phase - np.floor(phase)
    disc = smoothstep(np.abs(part - 0.5), 0.36, 0.46)
    column = smoothstep(np.abs(x), half + 0.012, half - 0.014)
    pedicle = np.exp(-((((np.abs(x) - half * 0.66) / 0.014) ** 2) + ((part - 0.35) / 0.13) ** 2))
    process = np.exp(-((x / 0.014) ** 2)) * smoothstep(np.abs(part - 0.75), 0.3, 0.15)
    total = column * (1.6 - 0.6 * disc + 0.7 * pedicle + 0.5 * process)
    return np.asarray(total * np.float32(anatomy.bone * rng.uniform(0.35, 1.2)), dtype=np.float32)


def clavicles_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    """Return both clavicles: S-shaped tubes from the sternum to the shoulder."""
    inner = float(rng.normal(0.135, 0.03) - 0.03 * (anatomy.view.value == "AP"))
    outer = float(rng.normal(0.0, 0.03))
    total = np.zeros(grid.shape, dtype=np.float32)
    span = 0.68
    for side in (-1.0, 1.0):
        out = grid.x * np.float32(side)
        u = (out - np.float32(0.055)) * np.float32(1.0 / span)
        line = np.float32(inner + rng.normal(0.0, 0.008)) + np.float32(outer - inner) * u
        line += np.float32(0.028) * np.sin(np.float32(2 * np.pi) * u)
        radius = 0.021 + 0.010 * np.abs(u - 0.5)
        r = np.abs(grid.y - line) / radius
        tube = 0.55 * smoothstep(r, 1.08, 0.9) + 0.55 * np.exp(-(((r - 0.82) / 0.2) ** 2))
        total += tube * smoothstep(u, -0.01, 0.03) * smoothstep(u, 1.03, 0.99)
    return np.asarray(total * np.float32(1.25 * anatomy.bone), dtype=np.float32)


def shoulders_cm(rng: np.random.Generator, grid: BodyGrid, anatomy: Anatomy) -> Field:
    """Return scapulae (they overlap the lung if the arms hang down) and the heads and shafts of the upper arms."""
    canvas = np.zeros(grid.shape, dtype=np.uint8)
    wall = max(anatomy.right.widest, anatomy.left.widest)
    turn = float(rng.uniform(-0.10, 0.02) if anatomy.arms_down else rng.uniform(0.0, 0.10))
    for side in (-1.0, 1.0):
        edge = wall + turn + float(rng.normal(0.0, 0.01))
        blade = np.array(
            [
                [edge - 0.03, 0.06],
                [edge + 0.17, 0.02],
                [edge + 0.2, 0.13],
                [edge + 0.09, 0.34],
                [edge + 0.03, 0.47],
                [edge - 0.0, 0.30],
            ]
        )
        head = np.array([[edge + 0.29, 0.07]])
        elbow = np.array([[edge + (0.33 if anatomy.arms_down else 0.75), 0.75 if anatomy.arms_down else -0.05]])
        flip = np.array([side, 1.0])
        _polygon(canvas, grid.to_grid(blade * flip), 60)
        _stroke(canvas, grid.to_grid((blade * flip)[[0, 5, 4]]), 0.010 * grid.per_unit, 85)
        _stroke(canvas, grid.to_grid((blade * flip)[[0, 1]] + [0, 0.03]), 0.022 * grid.per_unit, 95)
        _stroke(canvas, grid.to_grid(np.concatenate([head, elbow]) * flip), 0.075 * grid.per_unit, 170)
        centre = grid.to_grid(head * flip)[0]
        cv2.circle(canvas, _fixed(centre), round(0.062 * grid.per_unit * 2**_SHIFT), 190, -1, cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.009 * grid.per_unit)
    return np.asarray(soft, dtype=np.float32) * np.float32(2.6 / 255.0 * anatomy.bone)


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    column, row = np.clip(np.round(point * 2**_SHIFT), -(2**20), 2**20).astype(int)
    return int(column), int(row)


def _polygon(canvas: NDArray[np.uint8], points: NDArray[np.float64], value: int) -> None:
    fixed = np.round(points * 2**_SHIFT).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], value, cv2.LINE_AA, _SHIFT)


def _stroke(canvas: NDArray[np.uint8], points: NDArray[np.float64], width: float, value: int) -> None:
    fixed = np.round(points * 2**_SHIFT).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, value, max(1, round(width)), cv2.LINE_AA, _SHIFT)
