"""A decoded film as it is stored, before it is displayed: what `read_dicom`, `read_png` and `read_jpeg` return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.display.luts import LookupTable
from cxrlib.reading.display.windows import Window
from cxrlib.reading.lattice import Lattice
from cxrlib.reading.placement import Placement
from cxrlib.types import FilmFacts


@dataclass(frozen=True, slots=True)
class Display:
    """How stored values become grey, as the header says; `cxrlib.reading.display.grayscale` applies it.

    Attributes
    ----------
    slope, intercept : float
        Rescale (DICOM PS3.3 C.11.1.1.2); unused where there is a `modality_lut`.
    padding : tuple of int or None
        Smallest and largest stored value that means "no image here" (PS3.3 C.7.5.1.1.2).
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


@dataclass(frozen=True, slots=True, eq=False)
class RawImage:
    """A decoded film, before it is displayed and turned upright.

    Attributes
    ----------
    pixels : uint8, uint16, int8 or int16 array, rows x columns as stored
        Stored values (sign extended, overlay bits cleared), one grey channel.
    bits : int
        Most bits of a stored value; may be fewer than those of its type.
    facts : FilmFacts
        Of the upright film, that is after `placement`.
    lattice : Lattice or None
        Positions of the pixels in the film, if the codec gave a reduced resolution; None where they are the film.
    """

    pixels: NDArray[np.integer]
    bits: int
    display: Display
    placement: Placement
    facts: FilmFacts
    lattice: Lattice | None = None
