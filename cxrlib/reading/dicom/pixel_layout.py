"""Lay out the pixels of a DICOM film: sizes, bits and sign of the stored values, and unpacking of native pixels.

The layout is that of the Image Pixel module (DICOM PS3.3 C.7.6.3) and of PS3.5 sections 8.1 and 8.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.header import FilmHeader

Pixels = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """The Image Pixel module of one film; attributes are named as in DICOM PS3.3 C.7.6.3.1.

    Attributes
    ----------
    by_plane : bool
        Planar Configuration 1: all values of one channel before those of the next.
    native_samples : int
        Samples per pixel of native pixel data; YBR_FULL_422 stores two for three (PS3.5 8.2).
    native_bytes : int
        Bytes of native pixel data.
    """

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    by_plane: bool
    photometric: str
    native_samples: int
    native_bytes: int

    @classmethod
    def of(cls, header: FilmHeader) -> PixelLayout:
        """Take the layout from a header.

        Raises
        ------
        FilmError
            DECODER_FAILED where the values contradict each other or are not those of an image of 8 or 16 bits.
        """
        allocated = header.bits_allocated or 0
        stored = header.bits_stored or allocated
        high_bit = stored - 1 if header.high_bit is None else header.high_bit
        samples = header.samples_per_pixel or 1
        photometric = (header.photometric or ("RGB" if samples == 3 else "MONOCHROME2")).upper()
        if allocated not in (8, 16) or samples not in (1, 3) or not 1 <= stored <= high_bit + 1 <= allocated:
            raise FilmError(
                Reason.DECODER_FAILED,
                expected="8 or 16 bits allocated, no more stored, in 1 or 3 samples",
                got=f"{allocated} allocated, {stored} stored, high bit {high_bit}, {samples} samples",
            )
        native_samples = 2 if photometric == "YBR_FULL_422" else samples
        return cls(
            rows=header.rows,
            columns=header.columns,
            samples=samples,
            allocated=allocated,
            stored=stored,
            high_bit=high_bit,
            signed=header.pixel_representation == 1,
            by_plane=header.planar_configuration == 1,
            photometric=photometric,
            native_samples=native_samples,
            native_bytes=header.rows * header.columns * native_samples * allocated // 8,
        )


def unpack(value: bytes | memoryview, layout: PixelLayout, *, little_endian: bool) -> Pixels:
    """Return native pixel data as pixels, rows x columns or rows x columns x samples.

    Raises FilmError TRUNCATED where `value` has too few bytes.
    """
    need = layout.native_bytes
    if len(value) < need:
        raise FilmError(Reason.TRUNCATED, expected=f"{need} bytes of pixel data", got=str(len(value)))
    order = "<" if little_endian else ">"
    dtype = np.dtype(np.uint8) if layout.allocated == 8 else np.dtype(f"{order}u2")
    flat = np.frombuffer(value, dtype, count=need // dtype.itemsize)
    if not little_endian and layout.allocated == 16:
        flat = flat.astype(np.uint16)
    if layout.native_samples == 2:
        # Two pixels share a chroma pair: Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2). Chroma is repeated for both.
        quads = flat.reshape(layout.rows, layout.columns // 2, 4)
        luma = quads[..., :2].reshape(layout.rows, layout.columns)
        chroma = np.repeat(quads[..., 2:], 2, axis=1)
        return np.concatenate([luma[..., None], chroma], axis=2)
    if layout.samples == 1:
        pixels: Pixels = flat.reshape(layout.rows, layout.columns)
    elif layout.by_plane:
        pixels = np.moveaxis(flat.reshape(layout.samples, layout.rows, layout.columns), 0, 2)
    else:
        pixels = flat.reshape(layout.rows, layout.columns, layout.samples)
    return align(pixels, layout)


def align(pixels: Pixels, layout: PixelLayout) -> Pixels:
    """Return the stored bits alone: shifted down to bit 0, overlay bits above them cleared, sign extended."""
    shift = layout.high_bit + 1 - layout.stored
    if shift:
        pixels = pixels >> shift
    if layout.signed:
        return sign_extend(pixels, layout.stored)
    # Overlay bits are rare, and looking for them is several times as fast as clearing them.
    return pixels & ((1 << layout.stored) - 1) if int(pixels.max()) >> layout.stored else pixels


def sign_extend(pixels: Pixels, stored: int) -> Pixels:
    """Return `pixels` as two's complement of `stored` bits (PS3.5 8.1.1)."""
    width = 8 * pixels.dtype.itemsize
    signed = pixels.astype(f"u{pixels.dtype.itemsize}").view(f"i{pixels.dtype.itemsize}")
    spare = width - stored
    return (signed << spare) >> spare if spare > 0 else signed
