"""Find out from a DICOM header how the stored film must be turned to be upright.

Patient Orientation (0020,0020) names the directions in which rows and columns of the stored image run (DICOM PS3.3
C.7.6.1.1.1), and that is enough. Field of View Horizontal Flip (0018,7034) and Rotation (0018,7032) describe a flip
and a rotation that were already applied to the detector's image (PS3.3 C.8.11.9). Every PA film needs such a flip.
Applying it again would mirror films that are upright.
"""

from __future__ import annotations

from typing import Final

from cxrlib.reading.dicom.header import FilmHeader
from cxrlib.reading.placement import Placement

_ACROSS: Final = ("L", "R")
_ALONG: Final = ("F", "H")


def placement_of(header: FilmHeader) -> Placement:
    """Return how to turn the stored film; not at all where the header gives no orientation, or an impossible one.

    Image Orientation Patient (0020,0037), which projection films rarely have, is used where Patient Orientation is
    missing and the plane is nearly coronal.
    """
    axes = tuple(text[:1].upper() for text in header.patient_orientation)
    if len(axes) != 2:
        axes = _axes_of_cosines(header.image_orientation)
    if len(axes) != 2:
        return Placement()
    along_row, along_column = axes
    if along_row in _ACROSS and along_column in _ALONG:
        return Placement(flip_columns=along_row == "R", flip_rows=along_column == "H")
    if along_row in _ALONG and along_column in _ACROSS:
        # After the transposition, the directions of rows and columns are swapped.
        return Placement(transpose=True, flip_columns=along_column == "R", flip_rows=along_row == "H")
    return Placement()


def _axes_of_cosines(cosines: tuple[float, ...]) -> tuple[str, ...]:
    """Return the directions that the cosines of row and column are closest to (PS3.3 C.7.6.2.1.1)."""
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
