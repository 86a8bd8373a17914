"""Turn a film upright: patient's right on the left of the image, head up, as a radiologist looks at it.

Where the turn comes from: `cxrlib.reading.dicom.orientation` for DICOM, the EXIF orientation for JPEG
(`cxrlib.reading.raster`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Placement:
    """How to turn stored pixels so that the film is upright.

    First swap rows and columns if `transpose`, then reverse the rows if `flip_rows` and the columns if `flip_columns`.
    The eight values are the symmetries of a rectangle. The default leaves the film as it is.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False


#: The film is upright as it is stored.
UPRIGHT: Final = Placement()


def upright(pixels: NDArray[_Scalar], placement: Placement) -> NDArray[_Scalar]:
    """Return `pixels`, rows x columns as stored, turned as `placement` says; contiguous."""
    turned = pixels.T if placement.transpose else pixels
    if placement.flip_rows:
        turned = turned[::-1]
    if placement.flip_columns:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)
