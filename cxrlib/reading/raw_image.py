"""A decoded film as it is stored, before it is displayed: what `read_dicom`, `read_png` and `read_jpeg` return."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.lattice import Lattice
from cxrlib.types import FilmFacts


class WindowFunction(Enum):
    """VOI LUT Function (0028,1056); DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class Window:
    """Window centre and width, in the units that the modality transform gives."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A Modality or VOI LUT (DICOM PS3.3 C.11.1.1.1): input `first` maps to ``values[0]``, ends are held.

    Attributes
    ----------
    values : float64 array, one dimension
        Outputs; `bits` wide each, so 0 to ``2**bits - 1``.
    """

    first: int
    values: NDArray[np.float64]
    bits: int


@dataclass(frozen=True, slots=True)
class Display:
    """How stored values become grey, as the header says; nothing here is applied yet.

    Attributes
    ----------
    slope, intercept : float
        Rescale (DICOM PS3.3 C.11.1.1.2); unused where there is a `modality_lut`.
    padding : tuple of int or None
        Least and largest stored value that stands for "no image here" (PS3.3 C.7.5.1.1.2).
    inverse : bool
        MONOCHROME1, or Presentation LUT Shape INVERSE: the lowest value is white.
    """

    slope: float = 1.0
    intercept: float = 0.0
    modality_lut: LookupTable | None = None
    voi_lut: LookupTable | None = None
    window: Window | None = None
    padding: tuple[int, int] | None = None
    inverse: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """How stored pixels are laid so that the patient's right is on the left of the image and the head is up.

    The turn is: swap rows and columns if `transpose`, then reverse rows if `flip_rows`, columns if `flip_columns`.
    The eight values are the symmetries of a rectangle; the default leaves the film as it is.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @property
    def moves(self) -> bool:
        """Whether anything is to be done."""
        return self.transpose or self.flip_rows or self.flip_columns


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """A decoded film, before it is displayed or turned.

    Attributes
    ----------
    pixels : uint8, uint16, int8 or int16 array, rows x columns as stored
        Stored values (sign extended, overlay bits cleared), one grey channel.
    bits : int
        That a stored value has at most; may be fewer than those of its type.
    facts : FilmFacts
        Already in the patient's orientation, that is after `placement`.
    lattice : Lattice or None
        Where the pixels lie in the film, if the codec gave a reduced resolution; None where they are the film.
    """

    pixels: NDArray[np.integer]
    bits: int
    display: Display
    placement: Placement
    facts: FilmFacts
    lattice: Lattice | None = None
