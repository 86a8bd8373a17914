"""Reduce the pixels of any photometric interpretation to one grey channel (DICOM PS3.3 C.7.6.3.1.2).

MONOCHROME1 stays as it is stored; `cxrlib.reading.display.grayscale` inverts it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading import colour
from cxrlib.reading.codecs.decode import decode_colour_as_stored
from cxrlib.reading.dicom.header import FilmHeader
from cxrlib.reading.dicom.pixel_layout import PixelLayout

Pixels = NDArray[np.integer]

MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")


def to_grey(pixels: Pixels, layout: PixelLayout, header: FilmHeader, *, transformed: bool) -> Pixels:
    """Return grey pixels, rows x columns.

    Parameters
    ----------
    pixels : integer array, rows x columns or rows x columns x 3
    layout : PixelLayout
    header : FilmHeader
        For its palettes.
    transformed : bool
        The codec has already transformed YCbCr to RGB.

    Raises
    ------
    FilmError
        NOT_GREY where channels differ; DECODER_FAILED or TRUNCATED where the pixels contradict the header.
    """
    if layout.photometric == "PALETTE COLOR" and pixels.ndim == 2:
        return _apply_palette(pixels, header)
    if pixels.ndim == 2:
        if layout.photometric not in MONOCHROME:
            raise FilmError(
                Reason.DECODER_FAILED, expected="a grey or palette photometric interpretation", got="one of colour"
            )
        return pixels
    if layout.photometric.startswith("YBR_FULL") and not transformed:
        return colour.from_ybr(pixels, layout.stored)
    return colour.from_rgb(pixels, layout.stored)


def grey_of_colour_stream(pixels: Pixels, frame: bytes, bits: int, photometric: str) -> Pixels:
    """Return the grey of a decoded colour codestream, under whichever colour model its channels agree.

    libjpeg takes three channels without an Adobe or JFIF marker for YCbCr, though some DICOM writers store RGB so. JPEG
    2000 may hold YCbCr that was transformed before encoding.
    """
    try:
        return colour.from_rgb(pixels, bits)
    except FilmError:
        if photometric == "RGB" and frame.startswith(b"\xff\xd8"):
            return colour.from_rgb(decode_colour_as_stored(frame), bits)
        if photometric.startswith("YBR_FULL"):
            return colour.from_ybr(pixels, bits)
        raise


def _apply_palette(indices: Pixels, header: FilmHeader) -> Pixels:
    """Look indices up in the three palettes (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""
    channels = []
    bits = first = 0
    for palette in header.palettes:
        if len(palette.descriptor) != 3 or palette.data is None:
            raise FilmError(Reason.DECODER_FAILED, expected="three palettes", got="one missing or segmented")
        entries, first, bits = (int(each) for each in palette.descriptor)
        entries = entries or 2**16
        wide = len(palette.data) >= 2 * entries
        channel = np.frombuffer(palette.data, palette.word if wide else np.uint8)[:entries]
        if len(channel) < entries:
            raise FilmError(Reason.TRUNCATED, expected=f"{entries} palette entries", got=str(len(channel)))
        channels.append(channel.astype(np.uint16))
    if len({len(channel) for channel in channels}) != 1:
        raise FilmError(Reason.DECODER_FAILED, expected="palettes of one length", got="different ones")
    # Many palettes of 16 bits hold 8-bit colours; the largest entry then shows the full scale.
    colours = np.stack(channels, axis=1)
    return colour.from_palette(indices, first, colours, 8 if bits <= 8 or int(colours.max()) < 256 else 16)
