"""Read from a DICOM header how stored values are displayed: LUTs, window, padding, and MONOCHROME1.

`cxrlib.reading.display.grayscale` applies what is read here, including the inversion of MONOCHROME1.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.dicom.elements import StoredTable
from cxrlib.reading.dicom.header import FilmHeader
from cxrlib.reading.display.luts import LookupTable
from cxrlib.reading.display.windows import Window, WindowFunction
from cxrlib.reading.raw_image import Display

_FUNCTIONS: Final = {function.value: function for function in WindowFunction}


def display_of(header: FilmHeader, dtype: np.dtype[np.integer]) -> Display:
    """Return how the header wants stored values of type `dtype` displayed.

    A colour or palette image has neither a Modality nor a VOI transform (PS3.3 C.7.6.3.1.2). Once its channels are
    reduced to grey, it is displayed as it is.
    """
    photometric = (header.photometric or "MONOCHROME2").upper()
    if not photometric.startswith("MONOCHROME"):
        return Display()
    signed = dtype.kind == "i"
    # Both say the same in a DX image for presentation (PS3.3 C.8.11.3.1.2); one film must not be inverted twice.
    inverse = photometric == "MONOCHROME1" or (header.presentation_lut_shape or "").upper() == "INVERSE"
    return Display(
        slope=header.rescale_slope or 1.0,
        intercept=header.rescale_intercept or 0.0,
        modality_lut=_lookup_table(header.modality_lut, signed),
        voi_lut=_lookup_table(header.voi_lut, signed),
        window=_window(header),
        padding=_padding(header, signed, 8 * dtype.itemsize),
        inverse=inverse,
    )


def grey_scale_width(header: FilmHeader) -> float:
    """Return over how many stored values the header spreads the grey scale, so that decoding need not be finer.

    Infinity where the header does not say. 0 where it has a lookup table, which may spread the scale over any few
    values.
    """
    if header.modality_lut is not None or header.voi_lut is not None:
        return 0.0
    if header.window_center is None or header.window_width is None:
        return math.inf
    return max(header.window_width, 0.0) / abs(header.rescale_slope or 1.0)


def _window(header: FilmHeader) -> Window | None:
    """Return the first window, which is the default one (PS3.3 C.11.2.1.2)."""
    if header.window_center is None or header.window_width is None:
        return None
    name = (header.voi_lut_function or "LINEAR").upper()
    return Window(header.window_center, header.window_width, _FUNCTIONS.get(name, WindowFunction.LINEAR))


def _padding(header: FilmHeader, signed: bool, bits: int) -> tuple[int, int] | None:
    value, limit = header.padding_value, header.padding_limit
    if value is None:
        return None
    low, high = sorted((_with_sign(value, signed, bits), _with_sign(value if limit is None else limit, signed, bits)))
    return low, high


def _with_sign(value: int, signed: bool, bits: int) -> int:
    """Return `value` with the sign of the pixels: writers often choose the wrong VR for this element (US for SS)."""
    if signed and value >= 1 << (bits - 1):
        return value - (1 << bits)
    return value + (1 << bits) if not signed and value < 0 else value


def _lookup_table(stored: StoredTable | None, signed: bool) -> LookupTable | None:
    """Return a Modality or VOI LUT (PS3.3 C.11.1.1.1, C.11.2.1.1), or None where it is malformed."""
    if stored is None or len(stored.descriptor) != 3:
        return None
    entries = int(stored.descriptor[0]) or 2**16
    first, bits = int(stored.descriptor[1]), int(stored.descriptor[2])
    # The first mapped value is signed where the pixels are, though pydicom cannot know and gives it unsigned.
    if signed and first >= 2**15:
        first -= 2**16
    values = _entries(stored, entries)
    return LookupTable(first, values, bits) if values is not None and 1 <= bits <= 16 else None


def _entries(stored: StoredTable, entries: int) -> NDArray[np.float64] | None:
    if stored.data is not None:
        # Older writers store tables of 8 bits in 16-bit words; the length of the data shows which it is.
        dtype = stored.word if len(stored.data) >= 2 * entries else np.dtype(np.uint8)
        values = np.frombuffer(stored.data[: len(stored.data) // dtype.itemsize * dtype.itemsize], dtype)
    else:
        values = np.array(stored.numbers)
    return values[:entries].astype(np.float64) if len(values) >= entries else None
