"""PNG and JPEG films: exports and data sets, which have pixels and next to nothing else.

The size is read from the first bytes and judged before anything is decoded. EXIF orientation of a JPEG is applied:
every viewer shows the film so, and a film that lies on its side has no lungs that a network would find. A PNG or JPEG
has no window, so its grey range is always taken by percentile, and no pixel spacing: the resolution that such files
state is that of a page.
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
from cxrlib.reading.codecs import decode, frame_header
from cxrlib.reading.codecs.frame_header import Stream
from cxrlib.reading.codecs.reduced import decode_reduced
from cxrlib.reading.dicom.eligibility import check_size
from cxrlib.reading.lattice import Grid, Lattice
from cxrlib.reading.orientation import EXIF_PLACEMENTS
from cxrlib.reading.raw_image import Display, Placement, RawImage
from cxrlib.settings import ReadSettings
from cxrlib.types import FilmFacts

Pixels = NDArray[np.integer]

_PNG_SIGNATURE: Final = 8
_IHDR: Final = struct.Struct(">I4sIIBBBBB")
_EXIF: Final = b"Exif\x00\x00"
_ORIENTATION: Final = 0x0112


def read_png(data: bytes, settings: ReadSettings) -> RawImage:
    """Read a PNG of 1 to 16 bits: grey, grey with alpha, palette, RGB or RGBA that is grey in fact, interlaced or not.

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
    return _raw(_one_channel(pixels), SourceFormat.PNG, Placement())


def read_jpeg(data: bytes, settings: ReadSettings, grid: Grid | None = None) -> RawImage:
    """Read a JPEG of any process, of 8 or 12 bits, grey or grey in fact.

    `grid` is what the film is to be averaged to once it is upright: allows to decode no more than that takes.

    Raises
    ------
    FilmError
        As `read_png`.
    """
    header = frame_header.frame_header(data)
    if header.stream is not Stream.JPEG:
        raise FilmError(Reason.NOT_AN_IMAGE, expected="a JPEG film", got=f"a bare {header.stream.value} stream")
    check_size(header.rows, header.columns, settings)
    placement = EXIF_PLACEMENTS.get(_exif_orientation(data), Placement())
    if grid is not None:
        stored = grid.turned() if placement.transpose else grid
        reduced = decode_reduced(data, header, stored.spare_level(header.rows, header.columns, header.bits))
        if reduced is not None:
            return _raw(reduced.pixels, SourceFormat.JPEG, placement, reduced.lattice)
    pixels = decode.decode_codestream(data, header, damaged_jpeg=settings.damaged_jpeg)
    if pixels.ndim == 3 and pixels.shape[2] > 3:
        raise FilmError(Reason.NOT_GREY, expected="one or three channels", got=f"{pixels.shape[2]}")
    return _raw(_one_channel(pixels), SourceFormat.JPEG, placement)


def _raw(pixels: Pixels, source: SourceFormat, placement: Placement, lattice: Lattice | None = None) -> RawImage:
    size = pixels.shape if lattice is None else (lattice.rows, lattice.columns)
    rows, columns = (int(side) for side in (size[::-1] if placement.transpose else size))
    facts = FilmFacts(source_format=source, rows=rows, columns=columns, mirrored=placement.moves)
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
    """Return whether the chunks reach an IEND; what follows it is of no interest."""
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
