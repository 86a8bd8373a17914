"""Open a DICOM file: parse its header and find its pixel data.

Nothing is decoded here, and nothing is inflated beyond a limit. pydicom parses the elements up to the pixel data.
This module adds two things (DICOM PS3.5 section 7, PS3.10 section 7):

- It opens files without preamble or without file meta.
- It distinguishes a file that was truncated from one that never had pixels.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.elements import Elements
from cxrlib.reading.dicom.header import KEYWORDS, FilmHeader, read_header
from cxrlib.reading.file_type import PREAMBLE, VALUE_REPRESENTATIONS

_UNDEFINED: Final = 0xFFFFFFFF
_PIXEL_DATA: Final = 0x7FE00010
_FLOAT_PIXEL_DATA: Final = (0x7FE00008, 0x7FE00009)

#: Bytes that hold the header of nearly every deflated film; more are inflated only where these do not.
_INFLATED_HEAD: Final = 2**20


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Position of the value of Pixel Data (7FE0,0010) in the data set; `length` is None where it is encapsulated."""

    offset: int
    length: int | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DicomFile:
    """A file whose header is parsed.

    Attributes
    ----------
    header : FilmHeader
        From the elements before the pixel data.
    syntax : str
        Transfer syntax UID; the detected one where the file meta is missing.
    little_endian : bool
        Byte order of the data set.
    pixels : PixelElement or None
        None where the file has no integer pixel data, or was truncated before them.
    cut : bool
        The bytes end within an element of the header.
    data : bytes
        The whole file.
    start : int
        Where its data set begins, after preamble and file meta.
    """

    header: FilmHeader
    syntax: str
    little_endian: bool
    pixels: PixelElement | None
    cut: bool
    data: bytes
    start: int


def open_dicom(data: bytes, max_bytes: int) -> DicomFile:
    """Parse the header of `data`, whose file type is DICOM.

    Parameters
    ----------
    data : bytes
        The file, with or without preamble and file meta (PS3.10 7.1).
    max_bytes : int
        Most bytes that a deflated header may inflate to.

    Raises
    ------
    FilmError
        NOT_AN_IMAGE where the bytes cannot be parsed as a DICOM data set, DECODER_FAILED where they do not inflate.
    """
    start = PREAMBLE + 4 if data[PREAMBLE : PREAMBLE + 4] == b"DICM" else 0
    meta, start = _file_meta(data, start)
    syntax = Elements(meta).text("TransferSyntaxUID") or _guess_syntax(data, start)
    implicit = syntax == ImplicitVRLittleEndian
    little = syntax != ExplicitVRBigEndian
    if syntax != DeflatedExplicitVRLittleEndian:
        head: bytes = data
        found = _parse(head, start, implicit, little)
    else:
        head, whole = inflate(data, start, _INFLATED_HEAD)
        found = _parse(head, 0, implicit, little)
        if found.pixels is None and (len(head) > _INFLATED_HEAD or not whole):
            head, whole = inflate(data, start, max_bytes)
            found = _parse(head, 0, implicit, little)
            found.cut = found.cut or not whole
    pixels = found.pixels
    if pixels is not None and syntax != DeflatedExplicitVRLittleEndian:
        pixels = PixelElement(pixels.offset - start, pixels.length)
    header = read_header(found.dataset, little_endian=little)
    return DicomFile(header, syntax, little, pixels, found.cut, data, start)


def _file_meta(data: bytes, start: int) -> tuple[Dataset, int]:
    """Return the file meta (explicit little endian, PS3.10 7.1) and the offset of the data set after it."""
    if data[start : start + 2] != b"\x02\x00":
        return Dataset(), start
    stream = BytesIO(data)
    stream.seek(start)
    try:
        meta = read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    except Exception as error:  # pydicom raises many kinds of error for bytes that are no element
        raise _unreadable(len(data)) from error
    return meta, stream.tell()


def _guess_syntax(data: bytes, start: int) -> str:
    """Return the uncompressed syntax in which the first element is written (PS3.5 section 7.1 and Annex A)."""
    head = data[start : start + 8]
    if head[4:6] not in VALUE_REPRESENTATIONS:
        return ImplicitVRLittleEndian
    return ExplicitVRBigEndian if head[0] == 0 and head[1] != 0 else ExplicitVRLittleEndian


@dataclass(slots=True)
class _Found:
    dataset: Dataset
    pixels: PixelElement | None = None
    cut: bool = False


def _parse(data: bytes, start: int, implicit: bool, little: bool) -> _Found:
    found = _Found(Dataset())
    stream = BytesIO(data)
    stream.seek(start)
    ends = start

    def at_pixels(tag: BaseTag, _vr: str | None, length: int) -> bool:
        nonlocal ends
        if tag == _PIXEL_DATA:
            found.pixels = PixelElement(stream.tell(), None if length == _UNDEFINED else length)
            return True
        if tag in _FLOAT_PIXEL_DATA:
            return True
        # pydicom raises EOFError for an element of undefined length without its delimiter.
        ends = stream.tell() + (0 if length == _UNDEFINED else length)
        return False

    try:
        found.dataset = read_dataset(stream, implicit, little, stop_when=at_pixels, specific_tags=list(_TAGS))
    except EOFError:
        found.cut = True
    except Exception as error:  # pydicom raises many kinds of error for bytes that are no element
        raise _unreadable(len(data)) from error
    found.cut = found.cut or ends > len(data)
    return found


_TAGS: Final[list[BaseTag | int]] = [Tag(keyword) for keyword in KEYWORDS]


def inflate(data: bytes, start: int, max_bytes: int) -> tuple[bytes, bool]:
    """Inflate up to ``max_bytes + 1`` bytes of the raw deflate stream (PS3.5 A.5).

    Returns the bytes, and whether the stream ended properly. Raises FilmError DECODER_FAILED where it does not inflate.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(memoryview(data)[start:], max_bytes + 1)
    except zlib.error as error:
        raise FilmError(Reason.DECODER_FAILED, expected="a deflate stream", got="bytes that do not inflate") from error
    return body, inflater.eof


def _unreadable(size: int) -> FilmError:
    return FilmError(Reason.NOT_AN_IMAGE, expected="a DICOM data set", got=f"{size} bytes with a malformed element")
