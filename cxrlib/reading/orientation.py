"""Putting a film upright: patient's right on the left of the image, head up, front seen as the radiologist sees it.

Patient Orientation (0020,0020) names, for the image as it is stored, where rows and columns run to (DICOM PS3.3
C.7.6.1.1.1). It is all that is needed. Field of View Horizontal Flip (0018,7034) and Rotation (0018,7032) tell how
the stored image came about from the detector's (PS3.3 C.8.11.9), which a PA film always needs; they say nothing of how
it lies now, so acting on them would mirror films that are right.
"""

from __future__ import annotations

from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.dicom.header import Header
from cxrlib.reading.raw_image import Placement

_Scalar = TypeVar("_Scalar", bound=np.generic)

_ACROSS: Final = ("L", "R")
_ALONG: Final = ("F", "H")

#: EXIF orientation (CIPA DC-008, tag 0x0112) as a placement; 1 is upright.
EXIF_PLACEMENTS: Final = {
    1: Placement(),
    2: Placement(flip_columns=True),
    3: Placement(flip_rows=True, flip_columns=True),
    4: Placement(flip_rows=True),
    5: Placement(transpose=True),
    6: Placement(transpose=True, flip_columns=True),
    7: Placement(transpose=True, flip_rows=True, flip_columns=True),
    8: Placement(transpose=True, flip_rows=True),
}


def placement_of(header: Header) -> Placement:
    """Return how the stored film is to be turned; not at all where the header does not say, or says what cannot be.

    Image Orientation Patient (0020,0037), which projection films rarely have, is taken where Patient Orientation is
    missing and the plane is nearly coronal.
    """
    axes = tuple(text[:1].upper() for text in header.texts("PatientOrientation"))
    if len(axes) != 2:
        axes = _axes_of_cosines(header.numbers("ImageOrientationPatient"))
    if len(axes) != 2:
        return Placement()
    along_row, along_column = axes
    if along_row in _ACROSS and along_column in _ALONG:
        return Placement(flip_columns=along_row == "R", flip_rows=along_column == "H")
    if along_row in _ALONG and along_column in _ACROSS:
        # Transposed first: what ran along the rows then runs along the columns.
        return Placement(transpose=True, flip_columns=along_column == "R", flip_rows=along_row == "H")
    return Placement()


def upright(pixels: NDArray[_Scalar], placement: Placement) -> NDArray[_Scalar]:
    """Return `pixels`, rows x columns as stored, turned as `placement` says; contiguous."""
    turned = pixels.T if placement.transpose else pixels
    if placement.flip_rows:
        turned = turned[::-1]
    if placement.flip_columns:
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def _axes_of_cosines(cosines: tuple[float, ...]) -> tuple[str, ...]:
    """Return the letters that the direction cosines of row and column come closest to (PS3.3 C.7.6.2.1.1)."""
    if len(cosines) != 6:
        return ()
    letters = []
    for vector in (cosines[:3], cosines[3:]):
        largest = max(range(3), key=lambda axis, vector=vector: abs(vector[axis]))  # type: ignore[misc]
        if abs(vector[largest]) < 0.9:
            return ()
        # The patient's axes grow to the left, to the back and to the head.
        letters.append(("LR", "PA", "HF")[largest][0 if vector[largest] > 0 else 1])
    return tuple(letters)
