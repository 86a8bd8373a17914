"""Read PNG and JPEG films: exports and data sets, which have pixels and hardly any metadata.

The size is read from the first bytes and checked before anything is decoded. The EXIF orientation of a JPEG is applied,
as every viewer does; a network finds no lungs in a film that is turned by 90 degrees. PNG and JPEG have no window, so
the grey range is always taken from percentiles. They have no pixel spacing either: the resolution that such files state
is that of a printed page.
"""

from __future__ import annotations

import struct
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason, SourceFormat
from cxrlib.errors import FilmError
from cxrlib.reading import colour
from cxrlib.reading.codecs import decode
from cxrlib.reading.codecs.frame_header import Stream, read_frame_header
from cxrlib.reading.lattice import Grid, Lattice
from cxrlib.reading.limits import check_size
from cxrlib.reading.placement import UPRIGHT, Placement
from cxrlib.reading.raw_image import Display, RawImage
from cxrlib.reading.reduced_resolution import decode_reduced
from cxrlib.settings import ReadSettings
from cxrlib.types import FilmFacts

Pixels = NDArray[np.integer]

_PNG_SIGNATURE: Final = 8
_IHDR: Final = struct.Struct(">I4sIIBBBBB")
_EXIF: Final = b"Exif\x00\x00"
_ORIENTATION: Final = 0x0112

#: Placement for each EXIF orientation (CIPA DC-008, tag 0x0112); 1 is upright.
EXIF_PLACEMENTS: Final = {
    1: UPRIGHT,
    2: Placement(flip_columns=True),
    3: Placement(flip_rows=True, flip_columns=True),
    4: Placement(flip_rows=True),
    5: Placement(transpose=True),
    6: Placement(transpose=True, flip_columns=True),
    7: Placement(transpose=True, flip_rows=True, flip_columns=True),
    8: Placement(transpose=True, flip_rows=True),
}


def read_png(data: bytes, settings: ReadSettings) -> RawImage:
    """Read a PNG of 1 to 16 bits: grey, grey with alpha, palette, RGB or RGBA whose channels agree, interlaced or not.

    Alpha is ignored.

    Raises
    ------
    FilmError
        TRUNCATED, TOO_SMALL, TOO_LARGE, DECODER_FAILED or NOT_GREY.
    """
    rows, columns = _png_size(data)
    check_size(rows, columns, settings)
    if not _png_is_whole(data):
        raise FilmError(Reason.TRUNCATED, expected="whole chunks up to IEND", got=f"an end after {len(data)} bytes")
    try:
        pixels = imagecodecs.png_decode(data)
    except (ValueError, RuntimeError) as error:
        raise FilmError(Reason.DECODER_FAILED, expected="a PNG that decodes", got="an error of the codec") from error
    if pixels.shape[:2] != (rows, columns):
        raise FilmError(Reason.DECODER_FAILED, expected=f"{rows} x {columns} pixels", got=f"shape {pixels.shape}")
    return _raw(_one_channel(pixels), SourceFormat.PNG, UPRIGHT)


def read_jpeg(data: bytes, settings: ReadSettings, grid: Grid | None = None) -> RawImage:
    """Read a JPEG of any process, of 8 or 12 bits, grey or with channels that agree.

    `grid` is the size to which the upright film will be averaged. With it, no more is decoded than that needs.

    Raises
    ------
    FilmError
        As `read_png`.
    """
    header = read_frame_header(data)
    if header.stream is not Stream.JPEG:
        raise FilmError(Reason.NOT_AN_IMAGE, expected="a JPEG film", got=f"a bare {header.stream.value} stream")
    check_size(header.rows, header.columns, settings)
    placement = EXIF_PLACEMENTS.get(_exif_orientation(data), UPRIGHT)
    if grid is not None:
        stored_grid = grid.turned() if placement.transpose else grid
        reduced = decode_reduced(data, header, stored_grid.spare_level(header.rows, header.columns, header.bits))
        if reduced is not None:
            return _raw(reduced.pixels, SourceFormat.JPEG, placement, reduced.lattice)
    pixels = decode.decode_codestream(data, header, damaged_jpeg=settings.damaged_jpeg)
    if pixels.ndim == 3 and pixels.shape[2] > 3:
        raise FilmError(Reason.NOT_GREY, expected="one or three channels", got=f"{pixels.shape[2]}")
    return _raw(_one_channel(pixels), SourceFormat.JPEG, placement)


def _raw(pixels: Pixels, source: SourceFormat, placement: Placement, lattice: Lattice | None = None) -> RawImage:
    size = pixels.shape if lattice is None else (lattice.rows, lattice.columns)
    rows, columns = (int(side) for side in (size[::-1] if placement.transpose else size))
    facts = FilmFacts(source_format=source, rows=rows, columns=columns, mirrored=placement != UPRIGHT)
    return RawImage(pixels, 8 * pixels.dtype.itemsize, Display(), placement, facts, lattice)


def _one_channel(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] <= 2:
        return np.ascontiguousarray(pixels[..., 0])
    return colour.from_rgb(pixels[..., :3], 8 * pixels.dtype.itemsize)


def _png_size(data: bytes) -> tuple[int, int]:
    """Return rows and columns of the IHDR chunk (PNG, ISO/IEC 15948, 11.2.2)."""
    if len(data) < _PNG_SIGNATURE + _IHDR.size:
        raise FilmError(Reason.TRUNCATED, expected="a PNG header", got=f"{len(data)} bytes")
    _, kind, columns, rows, *_ = _IHDR.unpack_from(data, _PNG_SIGNATURE)
    if kind != b"IHDR":
        raise FilmError(Reason.DECODER_FAILED, expected="IHDR as the first chunk", got="another one")
    return int(rows), int(columns)


def _png_is_whole(data: bytes) -> bool:
    """Return whether the chunks are complete up to IEND; bytes after it are ignored."""
    at = _PNG_SIGNATURE
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + int(length)
        if kind == b"IEND":
            return at <= len(data)
    return False


def _exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG, 1 to 8; 1 where there is none (CIPA DC-008 section 4.6.2)."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1] not in (0xD9, 0xDA) and at + 4 <= len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xE1 and data[at + 4 : at + 4 + len(_EXIF)] == _EXIF:
            try:
                return _tiff_orientation(data[at + 4 + len(_EXIF) : at + 2 + length])
            except struct.error:
                return 1
        at += 2 + length
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    order = ">" if tiff[:2] == b"MM" else "<"
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
    for entry in range(entries):
        tag, _kind, _count, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
        if tag == _ORIENTATION:
            return int(value)
    return 1
