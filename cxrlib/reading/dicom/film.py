"""A DICOM film as a whole: its stored values, how they are displayed and laid, and the facts that are kept."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import SourceFormat
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.dicom.eligibility import refuse
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.header import Header
from cxrlib.reading.dicom.pixels import stored_values
from cxrlib.reading.dicom.view import view_of
from cxrlib.reading.lattice import Grid
from cxrlib.reading.orientation import placement_of
from cxrlib.reading.raw_image import Display, LookupTable, Placement, RawImage, Window, WindowFunction
from cxrlib.settings import ReadSettings
from cxrlib.types import FilmFacts

#: In this order: at the detector as measured, as given (maybe calibrated), of a film digitizer (PS3.3 10.7, C.8.11.9).
_SPACINGS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")

_LARGEST_SPACING_MM: Final = 10.0


def read_dicom(data: bytes, settings: ReadSettings, pseudonymiser: Pseudonymiser, grid: Grid | None = None) -> RawImage:
    """Read a DICOM film.

    Parameters
    ----------
    data : bytes
        The whole file, with or without preamble and file meta.
    grid : Grid, optional
        What the film is to be averaged to once it is upright: allows to decode no more than that takes.

    Raises
    ------
    FilmError
        Any reason of `dicom.open_dicom`, `eligible.refuse` and `pixels.stored_values`, in this order.
    """
    file = open_dicom(data, settings.max_bytes)
    refuse(file, len(data), settings)
    placement = placement_of(file.header)
    as_stored = grid.turned() if grid is not None and placement.transpose else grid
    stored = stored_values(file, settings, as_stored, _shown(file.header))
    display = display_of(file.header, stored.pixels)
    facts = _facts(file.header, file.syntax, placement, display, pseudonymiser)
    return RawImage(stored.pixels, stored.bits, display, placement, facts, stored.lattice)


def display_of(header: Header, pixels: NDArray[np.integer]) -> Display:
    """Return how the header wants the stored values shown.

    A colour or palette image has neither a Modality nor a VOI transform (PS3.3 C.7.6.3.1.2): what has become grey by
    its channels is shown as it is.
    """
    photometric = (header.text("PhotometricInterpretation") or "MONOCHROME2").upper()
    if not photometric.startswith("MONOCHROME"):
        return Display()
    signed = pixels.dtype.kind == "i"
    # Both say the same in a DX image for presentation (PS3.3 C.8.11.3.1.2); one film must not be inverted twice.
    inverse = photometric == "MONOCHROME1" or (header.text("PresentationLUTShape") or "").upper() == "INVERSE"
    slope = header.number("RescaleSlope")
    return Display(
        slope=slope if slope else 1.0,
        intercept=header.number("RescaleIntercept") or 0.0,
        modality_lut=_lut(header, "ModalityLUTSequence", signed),
        voi_lut=_lut(header, "VOILUTSequence", signed),
        window=_window(header),
        padding=_padding(header, signed, 8 * pixels.dtype.itemsize),
        inverse=inverse,
    )


def spacing_of(header: Header) -> tuple[float, float] | None:
    """Return the distance between rows and between columns in mm at the detector, or None where none is plausible.

    Estimated Radiographic Magnification Factor (0018,1114) is not divided out. It is an estimate for one plane of a
    body that is 20 cm deep, few films have it, and areas of films with and without it could not be compared.
    """
    for keyword in _SPACINGS:
        values = header.numbers(keyword)
        if len(values) == 2 and all(0.0 < value <= _LARGEST_SPACING_MM for value in values):
            return values[0], values[1]
    return None


def _facts(
    header: Header, syntax: str, placement: Placement, display: Display, pseudonymiser: Pseudonymiser
) -> FilmFacts:
    size = (header.integer("Rows") or 0, header.integer("Columns") or 0)
    spacing = spacing_of(header)
    if placement.transpose:
        size = size[::-1]
        spacing = spacing[::-1] if spacing is not None else None
    patient_id = header.text("PatientID")
    modality = header.text("Modality")
    return FilmFacts(
        source_format=SourceFormat.DICOM,
        rows=size[0],
        columns=size[1],
        spacing_mm=spacing,
        transfer_syntax=syntax,
        modality=modality.upper() if modality is not None else None,
        view=view_of(header),
        sop_instance_uid=pseudonymiser.uid(header.text("SOPInstanceUID")),
        series_instance_uid=pseudonymiser.uid(header.text("SeriesInstanceUID")),
        study_instance_uid=pseudonymiser.uid(header.text("StudyInstanceUID")),
        patient_key=pseudonymiser.patient_key(patient_id),
        study_date=pseudonymiser.study_date(header.text("StudyDate"), patient_id),
        mirrored=placement.moves,
        inverted=display.inverse,
    )


def _window(header: Header) -> Window | None:
    """Return the first window, which is the one to show first (PS3.3 C.11.2.1.2)."""
    center, width = header.number("WindowCenter"), header.number("WindowWidth")
    if center is None or width is None:
        return None
    name = (header.text("VOILUTFunction") or "LINEAR").upper()
    known = {function.value: function for function in WindowFunction}
    return Window(center, width, known.get(name, WindowFunction.LINEAR))


def _shown(header: Header) -> float:
    """Return over how many stored values the header spreads the grey scale: infinity where it does not say.

    A table may spread it over any few of them: 0.
    """
    if header.items("ModalityLUTSequence") or header.items("VOILUTSequence"):
        return 0.0
    window = _window(header)
    return math.inf if window is None else max(window.width, 0.0) / abs(header.number("RescaleSlope") or 1.0)


def _padding(header: Header, signed: bool, width: int) -> tuple[int, int] | None:
    value = header.integer("PixelPaddingValue")
    if value is None:
        return None
    limit = header.integer("PixelPaddingRangeLimit")
    low, high = sorted((_as_stored(value, signed, width), _as_stored(value if limit is None else limit, signed, width)))
    return low, high


def _as_stored(value: int, signed: bool, width: int) -> int:
    """Return `value` with the sign of the pixels: writers often get the VR of this element wrong (US for SS)."""
    if signed and value >= 1 << (width - 1):
        return value - (1 << width)
    return value + (1 << width) if not signed and value < 0 else value


def _lut(header: Header, keyword: str, signed: bool) -> LookupTable | None:
    """Return the first table of a Modality or VOI LUT Sequence (PS3.3 C.11.1.1.1, C.11.2.1.1), or None."""
    for item in header.items(keyword):
        descriptor = item.numbers("LUTDescriptor")
        if len(descriptor) != 3:
            return None
        entries = int(descriptor[0]) or 2**16
        first, bits = int(descriptor[1]), int(descriptor[2])
        # The first mapped value is signed where the pixels are, though readers cannot know and give it unsigned.
        if signed and first >= 2**15:
            first -= 2**16
        values = _lut_data(item, entries)
        if values is None or not 1 <= bits <= 16:
            return None
        return LookupTable(first, values, bits)
    return None


def _lut_data(item: Header, entries: int) -> NDArray[np.float64] | None:
    data = item.data("LUTData")
    if data is not None:
        # Tables of 8 bits are stored in bytes or, by older writers, in words: their length tells.
        dtype = item.word if len(data) >= 2 * entries else np.dtype(np.uint8)
        values = np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)
    else:
        values = np.array(item.numbers("LUTData"))
    return values[:entries].astype(np.float64) if len(values) >= entries else None
