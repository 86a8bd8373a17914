"""Encode masks as text: COCO compressed run lengths, which pycocotools and other COCO readers use.

The mask is scanned column by column. Runs of background and foreground alternate, starting with background. Each run
length is stored as its difference to the length two before it. The number is split into groups of five bits, lowest
first; a sixth bit is set if more groups follow. Each group is the character with code 48 plus its value.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

#: Well-formed text: numbers of one to seven groups ('P' to 'o': more groups follow; '0' to 'O': last group).
_WELL_FORMED: Final = re.compile(r"(?:[P-o]{0,6}[0-O])+")


def encode(mask: NDArray[np.bool_]) -> str:
    """Return a bool mask, rows x columns, as COCO compressed run lengths (ASCII)."""
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.size == 0:
        raise ValueError(f"expected a bool mask of two dimensions with pixels; got {mask.dtype} of shape {mask.shape}")
    import cv2  # noqa: PLC0415 - reading results needs `decode` and has no OpenCV

    # OpenCV transposes the mask five times as fast as numpy copies it column by column.
    transposed = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8))
    return _encode_columns(transposed.astype(np.uint8, copy=False).T)


def _encode_columns(mask: NDArray[np.uint8]) -> str:
    """Return a mask of 0 and 1 as text; its columns are contiguous in memory (Fortran order)."""
    counts: bytes = coco.encode(mask)["counts"]
    return counts.decode("ascii")


def decode(text: str, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the bool mask, `rows` x `columns`, that `encode` wrote as `text`.

    Raises
    ------
    ValueError
        `text` is not a mask of this size: it has other characters, an incomplete number, or lengths that do not add up
        to the grid. (The C code of pycocotools would read beyond the end of such text.)
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"expected a grid of at least 1x1; got {rows}x{columns}")
    if _WELL_FORMED.fullmatch(text) is None:
        raise ValueError(f"expected COCO compressed run lengths; got {len(text)} characters of another format")
    try:
        mask: NDArray[np.uint8] = coco.decode({"size": [rows, columns], "counts": text.encode("ascii")})
    except ValueError as error:
        raise ValueError(f"expected run lengths that add up to {rows}x{columns} pixels; got others") from error
    if _encode_columns(mask) != text:
        raise ValueError(f"expected run lengths that add up to {rows}x{columns} pixels; got others")
    return np.ascontiguousarray(mask).view(np.bool_)
