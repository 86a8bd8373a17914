"""VOI windows: map a range of values to grey by centre and width (DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class WindowFunction(Enum):
    """VOI LUT Function (0028,1056)."""

    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"


@dataclass(frozen=True, slots=True)
class Window:
    """Window centre and width, in the units that the modality transform gives."""

    center: float
    width: float
    function: WindowFunction = WindowFunction.LINEAR


def apply_window(values: Floats, window: Window) -> Floats:
    """Return `values` windowed to [0, 1] (DICOM PS3.3 C.11.2.1.2 linear, C.11.2.1.3.1 sigmoid, C.11.2.1.3.2 exact)."""
    center, width = window.center, window.width
    match window.function:
        case WindowFunction.LINEAR:
            span = max(width - 1.0, 1e-9)  # a width of 1 is a threshold
            grey = (values - (center - 0.5)) / span + 0.5
        case WindowFunction.LINEAR_EXACT:
            grey = (values - center) / width + 0.5
        case WindowFunction.SIGMOID:
            # Beyond 700 the exponential overflows; the grey is 0 or 1 long before.
            grey = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    clipped: Floats = np.clip(grey, 0.0, 1.0)
    return clipped
