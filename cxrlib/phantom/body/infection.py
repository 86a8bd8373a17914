"""Draw an infection of an exact extent: its position, density and mask.

A rank field orders the lung by how early each place becomes infected. The quantile of the rank at the requested percent
is the border, so any extent is reached exactly. The rank follows the pattern of the disease: COVID-19 is bilateral,
peripheral, lower and multifocal (Wong et al. 2020; Jacobi et al. 2020); bacterial pneumonia is lobar or focal and
mostly on one side (Franquet 2001). At the border, the opacity is half of its plateau.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxrlib.phantom.body.geometry import BodyGrid, Field, LungFields, smooth_noise, smoothstep
from cxrlib.phantom.body.tissue import AIR, LUNG_CM


@dataclass(frozen=True, slots=True, eq=False)
class Infection:
    """An infection on the grid; all float32, grid rows x columns.

    Attributes
    ----------
    inside : array
        Approximate signed distance to the border, in body units. The mask is its positive part within the lung.
    plateau : array
        Share of the air that fluid replaces far inside the border, in [0, 1].
    filled : array
        Share of the air that fluid replaces; half the plateau at the border.
    cm : array
        Added attenuation along the ray, in water-equivalent cm.
    """

    inside: Field
    plateau: Field
    filled: Field
    cm: Field


def sample_percent(rng: np.random.Generator, film_class: FilmClass) -> float:
    """Return a random percent infected (0 to 95) that is typical of the class; 0 for a normal film."""
    if film_class is FilmClass.NORMAL:
        return 0.0
    shape = (1.05, 1.5) if film_class is FilmClass.COVID19 else (1.3, 2.4)
    return float(np.clip(95.0 * rng.beta(*shape), 0.5, 95.0))


def sample_infection(
    rng: np.random.Generator,
    grid: BodyGrid,
    lungs: tuple[LungFields, LungFields],
    lung_cm: Field,
    *,
    film_class: FilmClass,
    percent: float,
) -> Infection:
    """Return a random infection of `percent` (0 to 100) of both lungs together; `lungs` are right and left."""
    if percent <= 0.0:
        zero = np.zeros(grid.shape, dtype=np.float32)
        outside = np.full(grid.shape, -1.0, dtype=np.float32)
        return Infection(inside=outside, plateau=zero, filled=zero, cm=zero)
    lung = (lungs[0].inside > 0) | (lungs[1].inside > 0)
    rank = _covid_rank(rng, grid, lungs) if film_class is FilmClass.COVID19 else _lobar_rank(rng, grid, lungs)
    inside = _signed_distance(rank, _threshold(rank[lung], percent), grid.per_unit)
    soft = float(rng.uniform(0.016, 0.045) if film_class is FilmClass.COVID19 else rng.uniform(0.010, 0.036))
    opacity = smoothstep(inside, -soft, soft)
    plateau = _density(rng, grid, film_class)
    filled = opacity * plateau
    depth = 0.72 * lung_cm + np.float32(0.18 * LUNG_CM) * smoothstep(
        np.maximum(lungs[0].inside, lungs[1].inside), -0.01, 0.01
    )
    cm = np.asarray(np.float32(AIR) * filled * depth, dtype=np.float32)
    return Infection(inside=inside, plateau=plateau, filled=filled, cm=cm)


def _threshold(ranks: NDArray[np.float32], percent: float) -> float:
    ill = min(max(1, round(len(ranks) * percent / 100.0)), len(ranks))
    if ill == len(ranks):
        return float(ranks.min()) - 1.0
    healthy = len(ranks) - ill
    split = np.partition(ranks, (healthy - 1, healthy))
    return 0.5 * (float(split[healthy - 1]) + float(split[healthy]))


def _signed_distance(rank: Field, threshold: float, per_unit: float) -> Field:
    """Return the rank minus the threshold, divided by its slope: a distance in body units."""
    across = cv2.Sobel(rank, cv2.CV_32F, 1, 0, ksize=3, scale=per_unit / 8.0)
    down = cv2.Sobel(rank, cv2.CV_32F, 0, 1, ksize=3, scale=per_unit / 8.0)
    slope = np.sqrt(across * across + down * down)
    # A minimum slope keeps flat areas of the rank at finite distances. The blur avoids creases.
    slope = cv2.GaussianBlur(slope, (0, 0), 0.02 * per_unit) + np.float32(0.4)
    return np.asarray((rank - np.float32(threshold)) / slope, dtype=np.float32)


def _covid_rank(rng: np.random.Generator, grid: BodyGrid, lungs: tuple[LungFields, LungFields]) -> Field:
    y = grid.y
    rank = np.float32(rng.uniform(0.3, 1.1)) * smoothstep(y, 0.05, 0.95)
    peripheral = np.float32(rng.uniform(0.4, 1.2))
    lean = float(rng.normal(0.0, 0.18))
    spread = float(rng.uniform(0.05, 0.11))
    for fields, sign in zip(lungs, (-1.0, 1.0), strict=True):
        own = smoothstep(fields.across, -0.02, 0.02)
        rank += own * (peripheral * np.clip(fields.across, 0.0, 1.1) ** 2 + np.float32(sign * lean))
        for _ in range(int(rng.integers(2, 7))):
            q, centre_y = float(rng.beta(3.0, 1.2)), float(0.12 + 0.84 * rng.beta(2.4, 1.4))
            wide, high = spread * float(rng.uniform(0.6, 1.4)), spread * float(rng.uniform(0.8, 1.9))
            r2 = ((fields.across - np.float32(q)) * np.float32(0.5 / wide)) ** 2 + (
                (y - np.float32(centre_y)) / np.float32(high)
            ) ** 2
            rank += own * (np.float32(rng.uniform(0.6, 1.4)) * np.exp(-0.5 * r2))
    rank += _cloud(rng, grid, 0.30)
    return np.asarray(rank, dtype=np.float32)


def _lobar_rank(rng: np.random.Generator, grid: BodyGrid, lungs: tuple[LungFields, LungFields]) -> Field:
    side = 0 if rng.random() < 0.58 else 1
    centre_y, high = [(0.22, 0.17), (0.6, 0.15), (0.78, 0.18)][int(rng.choice(3, p=[0.27, 0.25, 0.48]))]
    centre_y += float(rng.normal(0.0, 0.05))
    q = float(rng.uniform(0.45, 0.85))
    wide = float(rng.uniform(0.18, 0.34))
    rank = np.zeros(grid.shape, dtype=np.float32)
    # Sometimes there is a second, smaller focus on the other side.
    behind = float(rng.uniform(0.35, 0.9)) if rng.random() < 0.18 else 2.6
    for index, fields in enumerate(lungs):
        own = smoothstep(fields.across, -0.02, 0.02)
        r2 = ((fields.across - np.float32(q)) * np.float32(0.5 / wide)) ** 2 + (
            (grid.y - np.float32(centre_y)) / np.float32(high)
        ) ** 2
        rank -= own * (np.sqrt(r2 + np.float32(0.02)) + np.float32(0.0 if index == side else behind))
    rank += _cloud(rng, grid, 0.22)
    return np.asarray(rank, dtype=np.float32)


def _cloud(rng: np.random.Generator, grid: BodyGrid, height: float) -> Field:
    """Return noise of three octaves; the coarsest has amplitude `height`."""
    total = np.zeros(grid.shape, dtype=np.float32)
    for cells, share in ((8, 1.0), (16, 0.55), (32, 0.25)):
        total += np.float32(height * share) * smooth_noise(rng, grid.shape, cells)
    return total


def _density(rng: np.random.Generator, grid: BodyGrid, film_class: FilmClass) -> Field:
    """Return the plateau: the share of air replaced, about a third in ground glass, nearly all in consolidation."""
    covid = film_class is FilmClass.COVID19
    glass = float(rng.uniform(0.30, 0.46))
    solid = float(rng.uniform(0.45, 0.8) if covid else rng.uniform(0.65, 0.95))
    share = float(rng.uniform(-0.8, 0.8) if covid else rng.uniform(0.2, 1.8))
    mix = smoothstep(smooth_noise(rng, grid.shape, 8) + np.float32(share), -0.5, 0.9)
    plateau = np.float32(glass) + np.float32(solid - glass) * mix
    grain = np.float32(0.14) * smooth_noise(rng, grid.shape, 16) + np.float32(0.09) * smooth_noise(rng, grid.shape, 60)
    if covid:
        # Thickened septa in ground glass appear as a net of fine lines.
        net = np.abs(smooth_noise(rng, grid.shape, 64))
        grain += np.float32(rng.uniform(0.0, 0.35)) * (smoothstep(net, 0.35, 0.0) - np.float32(0.3)) * (1.0 - mix)
    return np.asarray(np.clip(plateau * (1.0 + grain), 0.2, 1.0), dtype=np.float32)
