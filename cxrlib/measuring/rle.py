"""Masks as text: COCO compressed run lengths, as pycocotools and every COCO reader writes and reads them.

The mask is read down its columns; runs of background and foreground alternate, beginning with background. Each length
is written as the difference to the one two before it, in groups of five bits from the lowest, a sixth bit saying that
more follow, each group as the character of code 48 plus its value.
"""

from __future__ import annotations

import re
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

#: Well-formed text: numbers of one to seven groups ('P' to 'o' say that more follow, '0' to 'O' end a number).
_WELL_FORMED: Final = re.compile(r"(?:[P-o]{0,6}[0-O])+")


def encode(mask: NDArray[np.bool_]) -> str:
    """Return a bool mask, rows x columns, as COCO compressed run lengths (ASCII)."""
    if mask.ndim != 2 or mask.dtype != np.bool_ or mask.size == 0:
        raise ValueError(f"expected a bool mask of two dimensions with pixels; got {mask.dtype} of shape {mask.shape}")
    # OpenCV turns the mask five times as fast as numpy copies it column by column.
    turned = cv2.transpose(np.ascontiguousarray(mask).view(np.uint8))
    counts: bytes = coco.encode(turned.T)["counts"]
    return counts.decode("ascii")


def decode(text: str, rows: int, columns: int) -> NDArray[np.bool_]:
    """Return the bool mask, `rows` x `columns`, that `encode` wrote as `text`.

    Raises
    ------
    ValueError
        If `text` is not what `encode` writes for a mask of this size: other characters, a number that does not end,
        lengths that do not add up to the grid. (The C reader under pycocotools would read on past such text.)
    """
    if rows < 1 or columns < 1:
        raise ValueError(f"expected a grid of at least 1x1; got {rows}x{columns}")
    if _WELL_FORMED.fullmatch(text) is None:
        raise ValueError(f"expected COCO compressed run lengths; got {len(text)} characters that are none")
    try:
        mask = coco.decode({"size": [rows, columns], "counts": text.encode("ascii")}).astype(bool)
    except ValueError as error:
        raise ValueError(f"expected run lengths that add up to {rows}x{columns} pixels; got others") from error
    if encode(mask) != text:
        raise ValueError(f"expected run lengths that add up to {rows}x{columns} pixels; got others")
    return np.ascontiguousarray(mask)
