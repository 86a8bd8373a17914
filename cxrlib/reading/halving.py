"""Halve a film that was decoded whole, before its grey values are looked up.

Stored values are averaged over blocks of 2 x 2 in their own integer type, which is fast. The look-up and the averaging
over areas then have a quarter of the work. A second halving would save only a twentieth of a film's time and triple the
change of its grey values.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.lattice import Kernel, Lattice, halved

#: Rounding .5 up adds 1/8 to a mean of four integers on average: it adds 0, -1/4, 1/2 or 1/4, equally often.
_EXCESS: Final = 0.125

_DTYPES: Final = (np.uint8, np.uint16, np.int16)


def can_be_halved(pixels: NDArray[np.integer]) -> bool:
    """Return whether `halve` takes the type of `pixels`: any but signed bytes, which are rare."""
    return pixels.dtype in _DTYPES


def halve(pixels: NDArray[np.integer]) -> tuple[NDArray[np.integer], Lattice]:
    """Average `pixels` over blocks of 2 x 2.

    Parameters
    ----------
    pixels : uint8, uint16 or int16 array, rows x columns

    Returns
    -------
    array of the same type, half the rows x half the columns, rounded up
        Along an odd side, the last blocks are one pixel long.
    Lattice
        Positions of the means.
    """
    rows, columns = pixels.shape
    lattice = Lattice(rows, columns, 1, Kernel.BLOCK, _EXCESS)
    if rows % 2 == columns % 2 == 0:
        return _means(pixels, lattice.shape), lattice
    means = np.empty(lattice.shape, pixels.dtype)
    for part_rows in _parts(rows):
        for part_columns in _parts(columns):
            part = pixels[part_rows, part_columns]
            to = means[_halved(part_rows), _halved(part_columns)]
            to[...] = _means(part, to.shape)
    return means, lattice


def _means(pixels: NDArray[np.integer], shape: tuple[int, int]) -> NDArray[np.integer]:
    return np.asarray(cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA), dtype=pixels.dtype)


def _parts(length: int) -> list[slice]:
    """Return the part of a side that whole blocks cover, and the last pixel if it is odd."""
    even = length // 2 * 2
    return [part for part in (slice(0, even), slice(even, length)) if part.stop > part.start]


def _halved(part: slice) -> slice:
    return slice(halved(part.start, 1), halved(part.stop, 1))
