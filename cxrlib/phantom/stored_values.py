"""Compute stored values that display as the phantom: the inverse of the DICOM grey-scale pipeline.

A reader that applies modality LUT or rescale, then VOI LUT or window, then MONOCHROME1 inversion restores the phantom's
pixels, apart from quantisation (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrlib.phantom.dicom_style import DicomStyle, ModalityMap, Photometric, Voi

#: Ends of the film within the stored range; detectors leave room at both ends.
FILM_LOW, FILM_HIGH = 0.08, 0.86
#: Exponents of the two look-up tables.
_MODALITY_EXPONENT: Final = 0.8
_VOI_EXPONENT: Final = 1.4
#: A sigmoid reaches neither 0 nor 1, so grey is clipped to this range.
_SIGMOID_ENDS: Final = (0.004, 0.996)

Table = NDArray[np.uint16]


@dataclass(frozen=True, slots=True, eq=False)
class GreyScale:
    """Stored values and the DICOM attributes for their display.

    Attributes
    ----------
    stored : integer array, rows x columns
        1 byte per pixel for 8 bits stored, else 2.
    slope, intercept : float or None
        Rescale; None if the style has none.
    modality_lut, voi_lut : uint16 array or None
        Entry k is for the value `lut_first` + k (modality) or `voi_first` + k (VOI). None if the style has none.
    centre, width : float or None
        Window in modality values; None if the style has none.
    padding : int or None
        Pixel Padding Value; None if the style has none.
    """

    stored: NDArray[np.integer]
    slope: float | None
    intercept: float | None
    modality_lut: Table | None
    lut_first: int
    voi_lut: Table | None
    voi_first: int
    centre: float | None
    width: float | None
    padding: int | None


def to_stored_values(pixels: NDArray[np.float32], style: DicomStyle) -> GreyScale:
    """Return `pixels` (float in [0, 1], dense is white) as stored values of a grey style."""
    levels = 2**style.bits_stored
    least = -(levels // 2) if style.signed else 0
    grey = 1.0 - pixels if style.photometric is Photometric.MONOCHROME1 else pixels
    # `level` is the position in [0, 1] between the ends of the film in modality values.
    level = _before_voi(grey, style.voi)
    low, high = round(FILM_LOW * (levels - 1)), round(FILM_HIGH * (levels - 1))
    top = levels - 1
    modality_lut, slope, intercept = None, None, None
    values = low + level * (high - low)
    if style.modality_map is ModalityMap.LUT:
        # The values of the table span 16 bits, independent of Bits Stored.
        modality_lut = np.round(65535 * (np.arange(levels) / top) ** _MODALITY_EXPONENT).astype(np.uint16)
        ends = float(modality_lut[low]), float(modality_lut[high])
        wanted = (ends[0] + level * (ends[1] - ends[0])) / 65535
        values = top * wanted ** (1.0 / _MODALITY_EXPONENT)
    elif style.modality_map is ModalityMap.RESCALE:
        slope, intercept = (1.0, 1024.0) if style.signed else (0.5, -100.0)
        ends = slope * (least + low) + intercept, slope * (least + high) + intercept
    else:
        ends = float(least + low), float(least + high)
    stored = np.clip(np.rint(values), 0, top).astype(np.int32) + least
    padding = None
    if style.padding:
        padding = least + top if style.photometric is Photometric.MONOCHROME1 else least
        band = max(1, round(0.01 * min(stored.shape)))
        stored[:, :band] = padding
        stored[:, -band:] = padding
    centre, width, voi_lut, voi_first = _voi(style.voi, *ends)
    kind = ("i" if style.signed else "u") + ("1" if style.bits_stored == 8 else "2")
    return GreyScale(
        stored=stored.astype(kind),
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        lut_first=least,
        voi_lut=voi_lut,
        voi_first=voi_first,
        centre=centre,
        width=width,
        padding=padding,
    )


def _before_voi(grey: NDArray[np.float32], voi: Voi) -> NDArray[np.float32]:
    if voi is Voi.SIGMOID:
        low, high = _SIGMOID_ENDS
        reach = np.log(high / (1 - high))
        clipped = np.clip(grey, low, high)
        return np.asarray(0.5 + np.log(clipped / (1 - clipped)) / (2 * reach), dtype=np.float32)
    if voi is Voi.LUT:
        return np.asarray(grey ** np.float32(1.0 / _VOI_EXPONENT), dtype=np.float32)
    return grey


def _voi(voi: Voi, low: float, high: float) -> tuple[float | None, float | None, Table | None, int]:
    """Return window centre and width, VOI LUT and its first value for modality values in [low, high]."""
    match voi:
        case Voi.NONE:
            return None, None, None, 0
        case Voi.LINEAR:
            # PS3.3 C.11.2.1.2: grey runs from centre - 0.5 - (width - 1) / 2 to centre - 0.5 + (width - 1) / 2.
            return (low + high) / 2 + 0.5, high - low + 1, None, 0
        case Voi.LINEAR_EXACT:
            return (low + high) / 2, high - low, None, 0
        case Voi.SIGMOID:
            # PS3.3 C.11.2.1.3: grey is 1 / (1 + exp(-4 (value - centre) / width)).
            reach = float(np.log(_SIGMOID_ENDS[1] / (1 - _SIGMOID_ENDS[1])))
            return (low + high) / 2, 2 * (high - low) / reach, None, 0
        case Voi.LUT:
            entries = round(high) - round(low) + 1
            curve = np.linspace(0.0, 1.0, entries) ** _VOI_EXPONENT
            return None, None, np.round(65535 * curve).astype(np.uint16), round(low)
