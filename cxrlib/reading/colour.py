"""Reduce colour images whose channels agree to one grey channel, and reject the others as NOT_GREY.

Secondary captures and exports of viewers store films as RGB. A photograph, or a screenshot full of coloured text, is
not a film.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError

#: Channels may differ by this share of the full scale; JPEG rounding and chroma subsampling stay below it.
TOLERANCE: Final = 0.05

#: Share of pixels whose channels may differ by more, for a coloured side marker or a stamp.
COLOURED: Final = 0.02


def from_rgb(pixels: NDArray[np.integer], bits: int) -> NDArray[np.integer]:
    """Return the one channel of an RGB image whose channels agree.

    Parameters
    ----------
    pixels : unsigned integer array, rows x columns x 3
    bits : int
        Of a stored value; full scale is ``2**bits - 1``.

    Returns
    -------
    integer array, rows x columns
        The green channel, unchanged; in a grey pixel all channels are equal.

    Raises
    ------
    FilmError
        NOT_GREY where more than `COLOURED` of the pixels differ by more than `TOLERANCE`.
    """
    red, green, blue = (np.ascontiguousarray(pixels[..., channel]) for channel in range(3))
    spread = np.maximum(cv2.absdiff(red, green), cv2.absdiff(blue, green))
    _reject_colour(spread, bits)
    return green


def from_ybr(pixels: NDArray[np.integer], bits: int) -> NDArray[np.integer]:
    """Return the luma of a YCbCr image whose chroma is neutral (DICOM PS3.3 C.7.6.3.1.2).

    Parameters, result and errors are those of `from_rgb`.
    """
    chroma = np.abs(pixels[..., 1:].astype(np.int32) - (1 << (bits - 1)))
    _reject_colour(chroma.max(axis=2), bits)
    return np.ascontiguousarray(pixels[..., 0])


def from_palette(
    indices: NDArray[np.integer], first: int, colours: NDArray[np.uint16], bits: int
) -> NDArray[np.integer]:
    """Return the grey value that a palette maps each index to.

    Parameters
    ----------
    indices : integer array, rows x columns
    first : int
        Index of the first entry; lower indices get the first colour, too high ones the last (PS3.3 C.7.6.3.1.5).
    colours : uint16 array, entries x 3
    bits : int
        Of an entry.

    Raises
    ------
    FilmError
        NOT_GREY, as `from_rgb`.
    """
    clipped = np.clip(indices.astype(np.int32) - first, 0, len(colours) - 1)
    rgb = colours[clipped]
    if bits <= 8:
        rgb = rgb.astype(np.uint8)
    return from_rgb(rgb, bits)


def _reject_colour(spread: NDArray[np.integer], bits: int) -> None:
    coloured = float(np.count_nonzero(spread > TOLERANCE * ((1 << bits) - 1))) / spread.size
    if coloured > COLOURED:
        raise FilmError(
            Reason.NOT_GREY,
            expected=f"channels that agree on all but {COLOURED:.0%} of the pixels",
            got=f"{coloured:.1%} in colour",
        )
