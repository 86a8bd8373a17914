"""Random augmentation of training films: geometry of film and masks, exposure and quality of the film."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.training.hyperparameters import AffineAugmentation, Augmentation, Fill, FilmAugmentation


def augment(
    generator: np.random.Generator,
    limits: Augmentation,
    film: NDArray[np.float32],
    masks: Sequence[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Augment a film and its masks.

    Parameters
    ----------
    generator : numpy Generator
    limits : Augmentation
        Largest change of each kind.
    film : float32, rows x columns
        Values in [0, 1].
    masks : sequence of float32, rows x columns
        Values 0 or 1. They get the same geometry as the film.
    """
    if isinstance(limits, AffineAugmentation):
        matrix = random_plain_affine(generator, limits, *film.shape)
        film = warp(film, matrix, limits.fill)
        return film, [_binary(warp(mask, matrix, limits.fill)) for mask in masks]
    matrix = random_affine(generator, limits, *film.shape)
    film = random_exposure(generator, limits, warp(film, matrix))
    film = random_quality(generator, limits, film)
    return film, [_binary(warp(mask, matrix)) for mask in masks]


def _binary(mask: NDArray[np.float32]) -> NDArray[np.float32]:
    return (mask > 0.5).astype(np.float32)


def random_plain_affine(
    generator: np.random.Generator, limits: AffineAugmentation, rows: int, columns: int
) -> NDArray[np.float32]:
    """Draw a random 2x3 matrix about the image centre: rotation, shear, zoom of each axis and shift."""
    angle = math.radians(generator.uniform(-1, 1) * limits.rotate_degrees)
    shear = generator.uniform(-1, 1) * limits.shear
    zoom = 1 + generator.uniform(-1, 1, size=2) * limits.zoom
    shift = generator.uniform(-1, 1, size=2) * limits.shift * np.array([columns, rows])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return _about_centre(turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag(zoom), shift, rows, columns)


def random_affine(
    generator: np.random.Generator, limits: FilmAugmentation, rows: int, columns: int
) -> NDArray[np.float32]:
    """Draw a random 2x3 matrix about the image centre: rotation, shear, scale, stretch, shift and flip."""
    angle = math.radians(generator.uniform(-1, 1) * limits.rotate_degrees)
    shear = math.tan(math.radians(generator.uniform(-1, 1) * limits.shear_degrees))
    scale = math.exp(generator.uniform(-1, 1) * limits.scale)
    stretch = math.exp(generator.uniform(-1, 1) * limits.stretch)
    flip = -1.0 if generator.random() < limits.flip_probability else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.array([[1.0, shear], [0.0, 1.0]]) @ np.diag([flip * scale * stretch, scale / stretch])
    shift = generator.uniform(-1, 1, size=2) * limits.shift * np.array([columns, rows])
    return _about_centre(linear, shift, rows, columns)


def _about_centre(
    linear: NDArray[np.float64], shift: NDArray[np.float64], rows: int, columns: int
) -> NDArray[np.float32]:
    centre = np.array([(columns - 1) / 2, (rows - 1) / 2])
    offset = centre + shift - linear @ centre
    return np.column_stack([linear, offset]).astype(np.float32)


def warp(image: NDArray[np.float32], matrix: NDArray[np.float32], fill: Fill = Fill.BLACK) -> NDArray[np.float32]:
    """Apply an affine matrix to a film or mask. `fill` sets the pixels from outside the film."""
    rows, columns = image.shape
    border = cv2.BORDER_CONSTANT if fill is Fill.BLACK else cv2.BORDER_REPLICATE
    warped = cv2.warpAffine(image, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(warped, dtype=np.float32)


def random_exposure(
    generator: np.random.Generator, limits: FilmAugmentation, film: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Change window, gamma and evenness of the exposure, as X-ray devices and viewers do. The result is in [0, 1]."""
    low = generator.uniform(-0.5, 0.5) * limits.contrast
    high = 1.0 + generator.uniform(-0.5, 0.5) * limits.contrast
    film = np.clip((film - low) / (high - low), 0.0, 1.0)
    film = film ** math.exp(generator.uniform(-1, 1) * limits.gamma)
    if generator.random() < 0.3:  # uneven exposure: the heel effect, a grid off focus, scatter
        corners = generator.uniform(1 - limits.contrast, 1 + limits.contrast, size=(2, 2)).astype(np.float32)
        film = film * cv2.resize(corners, film.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.clip(film, 0.0, 1.0).astype(np.float32)


def random_quality(
    generator: np.random.Generator, limits: FilmAugmentation, film: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Reduce sharpness, resolution or JPEG quality, and add noise. The result is in [0, 1]."""
    if generator.random() < limits.degrade_probability:
        degrade = (_blur, _reduce_resolution, _compress)[generator.integers(3)]
        film = degrade(generator, film)
    if generator.random() < 0.5:
        noise = generator.normal(0, generator.uniform(0, limits.noise), film.shape)
        film = film + noise.astype(np.float32)
    return np.clip(film, 0.0, 1.0)


def _blur(generator: np.random.Generator, film: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(film, (0, 0), sigmaX=generator.uniform(0.4, 1.4)), dtype=np.float32)


def _reduce_resolution(generator: np.random.Generator, film: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = film.shape
    share = generator.uniform(0.4, 0.9)
    small = cv2.resize(film, (int(columns * share), int(rows * share)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (columns, rows), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _compress(generator: np.random.Generator, film: NDArray[np.float32]) -> NDArray[np.float32]:
    quality = int(generator.integers(25, 90))
    _, data = cv2.imencode(".jpg", np.rint(film * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), dtype=np.float32) / np.float32(255)
