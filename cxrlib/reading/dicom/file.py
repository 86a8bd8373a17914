"""The container: from the bytes of a DICOM file to its header and to where its pixel data lie.

Nothing is decoded here and nothing is inflated beyond a bound. The elements are parsed by pydicom, up to the pixel
data and no further; what this module adds is finding its way into files that leave out the preamble or the file meta,
and telling a file that ends too early from one that never had pixels (DICOM PS3.5 section 7, PS3.10 section 7).
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
from cxrlib.reading.dicom.header import Header
from cxrlib.reading.file_type import PREAMBLE, VALUE_REPRESENTATIONS

_UNDEFINED: Final = 0xFFFFFFFF
_PIXEL_DATA: Final = 0x7FE00010
_FLOAT_PIXEL_DATA: Final = (0x7FE00008, 0x7FE00009)

#: Enough of a deflated stream for the header of nearly every film; more is inflated only where this did not do.
_INFLATED_HEAD: Final = 2**20

#: Only these are parsed; the rest of the header is skipped, and so is all that names a person but the patient id.
KEYWORDS: Final = (
    "AcquisitionDeviceProcessingDescription",
    "AnatomicRegionSequence",
    "BitsAllocated",
    "BitsStored",
    "BluePaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor",
    "BodyPartExamined",
    "Columns",
    "GreenPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor",
    "HighBit",
    "ImageOrientationPatient",
    "ImagerPixelSpacing",
    "Modality",
    "ModalityLUTSequence",
    "NominalScannedPixelSpacing",
    "NumberOfFrames",
    "PatientID",
    "PatientOrientation",
    "PhotometricInterpretation",
    "PixelPaddingRangeLimit",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "PresentationLUTShape",
    "RedPaletteColorLookupTableData",
    "RedPaletteColorLookupTableDescriptor",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "StudyDate",
    "StudyInstanceUID",
    "VOILUTFunction",
    "VOILUTSequence",
    "ViewCodeSequence",
    "ViewPosition",
    "WindowCenter",
    "WindowWidth",
)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the value of Pixel Data (7FE0,0010) lies in the body; `length` is None where it is encapsulated."""

    offset: int
    length: int | None


@dataclass(frozen=True, slots=True, eq=False)
class DicomFile:
    """A parsed file.

    Attributes
    ----------
    header : Header
        Every element of `KEYWORDS` that stands before the pixel data.
    syntax : str
        Transfer syntax UID; the one that was found to be true where the file meta is missing.
    little_endian : bool
        Byte order of the body.
    pixels : PixelElement or None
        None where the file ends, properly, without integer pixel data.
    cut : bool
        The bytes end within an element of the header.
    """

    header: Header
    syntax: str
    little_endian: bool
    pixels: PixelElement | None
    cut: bool
    _data: bytes
    _start: int

    def body(self, max_bytes: int) -> memoryview:
        """Return the data set's bytes, in which the offset of `pixels` counts; inflated if it is deflated.

        Raises
        ------
        FilmError
            TOO_LARGE where inflating gives more than `max_bytes`, TRUNCATED where the deflated stream ends early,
            DECODER_FAILED where what follows the pixel data in it is no element: it has no checksum, but of 60 films
            that inflated in spite of a wrong byte, to quite other ones, all were too long.
        """
        if self.syntax != DeflatedExplicitVRLittleEndian:
            return memoryview(self._data)[self._start :]
        body, whole = _inflate(self._data, self._start, max_bytes)
        if len(body) > max_bytes:
            raise FilmError(Reason.TOO_LARGE, expected=f"at most {max_bytes} bytes inflated", got="more")
        if not whole:
            raise FilmError(Reason.TRUNCATED, expected="a whole deflated stream", got=f"an end after {len(body)} bytes")
        if self.pixels is not None and self.pixels.length is not None:
            end = self.pixels.offset + self.pixels.length
            if end < len(body) and not _may_follow_pixels(body[end : end + 6]):
                raise FilmError(
                    Reason.DECODER_FAILED,
                    expected="nothing or another element after Pixel Data (7FE0,0010)",
                    got="other bytes in the deflated data set",
                )
        return memoryview(body)


def open_dicom(data: bytes, max_bytes: int) -> DicomFile:
    """Parse the header of `data`, which `sniff` took for DICOM.

    Parameters
    ----------
    data : bytes
        The file, with or without preamble and file meta (PS3.10 7.1).
    max_bytes : int
        Bound of what a deflated header may inflate to.

    Raises
    ------
    FilmError
        NOT_AN_IMAGE where the bytes cannot be parsed as a DICOM data set.
    """
    start = PREAMBLE + 4 if data[PREAMBLE : PREAMBLE + 4] == b"DICM" else 0
    meta, start = _file_meta(data, start)
    syntax = Header(meta).text("TransferSyntaxUID") or _guess_syntax(data, start)
    implicit = syntax == ImplicitVRLittleEndian
    little = syntax != ExplicitVRBigEndian
    if syntax != DeflatedExplicitVRLittleEndian:
        head: bytes = data
        found = _parse(head, start, implicit, little)
    else:
        head, whole = _inflate(data, start, _INFLATED_HEAD)
        found = _parse(head, 0, implicit, little)
        if found.pixels is None and (len(head) > _INFLATED_HEAD or not whole):
            head, whole = _inflate(data, start, max_bytes)
            found = _parse(head, 0, implicit, little)
            found.cut = found.cut or not whole
    pixels = found.pixels
    if pixels is not None and syntax != DeflatedExplicitVRLittleEndian:
        pixels = PixelElement(pixels.offset - start, pixels.length)
    return DicomFile(Header(found.dataset, little_endian=little), syntax, little, pixels, found.cut, data, start)


def _file_meta(data: bytes, start: int) -> tuple[Dataset, int]:
    """Return the file meta (explicit little endian, PS3.10 7.1) and where the data set after it begins."""
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
    """Return the uncompressed syntax that the first element is written in (PS3.5 section 7.1 and Annex A)."""
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
        # An element of undefined length is closed by a delimiter, for whose absence pydicom raises EOFError.
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


def _may_follow_pixels(head: bytes) -> bool:
    """Return whether an element of explicit little endian begins so, of a tag beyond Pixel Data (PS3.5 7.1)."""
    tag = Tag(int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little"))
    return tag > _PIXEL_DATA and head[4:] in VALUE_REPRESENTATIONS


def _inflate(data: bytes, start: int, max_bytes: int) -> tuple[bytes, bool]:
    """Return up to ``max_bytes + 1`` bytes of the raw deflate stream (PS3.5 A.5), and whether it ended properly."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        body = inflater.decompress(memoryview(data)[start:], max_bytes + 1)
    except zlib.error as error:
        raise FilmError(Reason.DECODER_FAILED, expected="a deflate stream", got="bytes that do not inflate") from error
    return body, inflater.eof


def _unreadable(size: int) -> FilmError:
    return FilmError(
        Reason.NOT_AN_IMAGE, expected="a DICOM data set", got=f"{size} bytes that break off being one at some element"
    )
