"""Get the stored values of a DICOM film: unpack or decode its frame, extend signs, reduce it to one grey channel.

Every size is taken from the header before anything is allocated, and compared with the bytes that there are and with
what the codestream declares. A file without all its pixels is rejected as TRUNCATED: here and in
`cxrlib.reading.dicom.pixel_data` where bytes are missing, in `cxrlib.reading.truncation` where the pixels show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs import decode, rle
from cxrlib.reading.codecs.frame_header import FrameHeader, read_frame_header
from cxrlib.reading.codecs.transfer_syntaxes import Packing
from cxrlib.reading.dicom.file import DicomFile
from cxrlib.reading.dicom.header import FilmHeader
from cxrlib.reading.dicom.photometric import MONOCHROME, grey_of_colour_stream, to_grey
from cxrlib.reading.dicom.pixel_data import frame_of
from cxrlib.reading.dicom.pixel_layout import PixelLayout, align, sign_extend, unpack
from cxrlib.reading.lattice import Grid, Lattice
from cxrlib.reading.limits import check_size
from cxrlib.reading.reduced_resolution import decode_reduced
from cxrlib.settings import ReadSettings

Pixels = NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class StoredValues:
    """A film's stored values.

    Attributes
    ----------
    pixels : uint8, uint16, int8 or int16 array, rows x columns
        Of the film, or of `lattice` where it is not None.
    bits : int
        Most bits of a value: Bits Stored (0028,0101) of a monochrome film, those of its type where it was colour.
    lattice : Lattice or None
    """

    pixels: Pixels
    bits: int
    lattice: Lattice | None = None


def stored_values(
    file: DicomFile, settings: ReadSettings, grid: Grid | None = None, grey_scale_width: float = 0.0
) -> StoredValues:
    """Return the film's stored values.

    Parameters
    ----------
    file : DicomFile
        A file that `check_eligible` passed.
    settings : ReadSettings
        For the size limits.
    grid : Grid, optional
        Size that the film, as it is stored, will be averaged to. Then no more is decoded than that needs.
    grey_scale_width : float
        As for `cxrlib.reading.reduced_resolution.decode_reduced`.

    Raises
    ------
    FilmError
        TRUNCATED, TOO_LARGE, DECODER_FAILED or NOT_GREY.
    """
    header = file.header
    layout = PixelLayout.of(header)
    if layout.native_bytes > settings.max_bytes:
        raise FilmError(
            Reason.TOO_LARGE, expected=f"at most {settings.max_bytes} bytes of pixels", got=str(layout.native_bytes)
        )
    frame = frame_of(file, settings.max_bytes)
    match frame.packing:
        case Packing.NATIVE:
            pixels = unpack(frame.data, layout, little_endian=file.little_endian)
            return _whole(to_grey(pixels, layout, header, transformed=False), layout)
        case Packing.RLE:
            planes = rle.decode_rle(frame.data, layout.rows, layout.columns, layout.samples, layout.allocated // 8)
            pixels = planes if planes.ndim == 2 else np.moveaxis(planes, 0, 2)
            return _whole(to_grey(align(pixels, layout), layout, header, transformed=False), layout)
    data = bytes(frame.data)
    declared = read_frame_header(data)
    check_size(declared.rows, declared.columns, settings)
    expected, got = (
        (layout.rows, layout.columns, layout.samples),
        (declared.rows, declared.columns, declared.samples),
    )
    if got != expected:
        raise FilmError(
            Reason.DECODER_FAILED,
            expected=f"rows, columns, samples {expected} as the header says",
            got=f"{got} in the codestream",
        )
    # A mean of stored values must be a stored value: not so for palette indices, padding, and a sign that the header
    # and the codestream disagree on.
    can_be_averaged = (
        layout.photometric in MONOCHROME and layout.signed == declared.signed and header.padding_value is None
    )
    if grid is not None and can_be_averaged:
        level = grid.spare_level(layout.rows, layout.columns, layout.stored)
        reduced = decode_reduced(data, declared, level, grey_scale_width)
        if reduced is not None:
            return StoredValues(reduced.pixels, layout.stored, reduced.lattice)
    return _whole(_decode_whole(data, layout, header, declared, settings), layout)


def _whole(pixels: Pixels, layout: PixelLayout) -> StoredValues:
    monochrome = layout.photometric in MONOCHROME
    return StoredValues(pixels, layout.stored if monochrome else 8 * pixels.dtype.itemsize)


def _decode_whole(
    data: bytes, layout: PixelLayout, header: FilmHeader, declared: FrameHeader, settings: ReadSettings
) -> Pixels:
    pixels = decode.decode_codestream(data, declared, damaged_jpeg=settings.damaged_jpeg)
    if pixels.ndim == 3:
        return grey_of_colour_stream(pixels, data, min(declared.bits, layout.stored), layout.photometric)
    if layout.signed and pixels.dtype.kind == "u":
        # JPEG has no sign: the bits are those of the stored value (PS3.5 8.2.1). JPEG 2000 states its own sign.
        pixels = sign_extend(pixels, max(layout.stored, 1))
    return to_grey(pixels, layout, header, transformed=True)
