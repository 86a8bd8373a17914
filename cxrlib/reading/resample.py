"""Resize a film or a map to another grid. Both grids cover the same film, so the aspect is not kept."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Sample = TypeVar("Sample", np.uint16, np.float32)


def resize(pixels: NDArray[Sample], rows: int, columns: int) -> NDArray[Sample]:
    """Average over areas along a side that shrinks, interpolate linearly along a side that grows.

    Parameters
    ----------
    pixels : uint16 or float32 array of two dimensions
    rows, columns : int
        Of the result. It has the dtype of `pixels` and values within their range; at the same size it is `pixels`.
    """
    dtype = pixels.dtype
    smaller = (min(columns, pixels.shape[1]), min(rows, pixels.shape[0]))
    if smaller != pixels.shape[::-1]:
        pixels = cv2.resize(pixels, smaller, interpolation=cv2.INTER_AREA).astype(dtype, copy=False)
    if smaller != (columns, rows):
        pixels = cv2.resize(pixels, (columns, rows), interpolation=cv2.INTER_LINEAR).astype(dtype, copy=False)
    return pixels
