"""Modality and VOI lookup tables (DICOM PS3.3 C.11.1.1.1 and C.11.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LookupTable:
    """A Modality or VOI LUT: the input `first` maps to ``values[0]``; inputs beyond an end map to the value there.

    Attributes
    ----------
    values : float64 array, one dimension
        Outputs of `bits` bits each, so 0 to ``2**bits - 1``.
    """

    first: int
    values: NDArray[np.float64]
    bits: int


def apply_lut(values: Floats, lut: LookupTable) -> Floats:
    """Return the table's entry for each of `values`."""
    index = np.clip(np.rint(values) - lut.first, 0, len(lut.values) - 1).astype(np.int64)
    entries: Floats = lut.values[index]
    return entries


def apply_voi_lut(values: Floats, lut: LookupTable) -> Floats:
    """Return the table's entry for each of `values`, as grey in [0, 1]."""
    grey: Floats = np.clip(apply_lut(values, lut) / (2.0**lut.bits - 1.0), 0.0, 1.0)
    return grey
