"""Find the bytes of the one frame in a DICOM file, and raise TRUNCATED where some are missing.

Native pixels are a plain value. A compressed frame is encapsulated: stored as items of a sequence, which are joined
here (DICOM PS3.5 Annex A.4). A film is one frame, so all its fragments belong to it, and the offset table in the first
item is not needed. The lengths of the items show whether the file was cut.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.transfer_syntaxes import SYNTAXES, Packing
from cxrlib.reading.dicom.file import DicomFile, inflate
from cxrlib.reading.file_type import VALUE_REPRESENTATIONS

_PIXEL_DATA: Final = (0x7FE0, 0x0010)
_ITEM: Final = 0xE000
_SEQUENCE_END: Final = 0xE0DD
_GROUP: Final = 0xFFFE
_ITEM_HEADER: Final = struct.Struct("<HHI")  # all compressed syntaxes are little endian (PS3.5 A.4)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """The bytes of the film's pixels, and how they are packed."""

    data: bytes | memoryview
    packing: Packing


def frame_of(file: DicomFile, max_bytes: int) -> Frame:
    """Return the frame of a film.

    Parameters
    ----------
    file : DicomFile
        A file that `check_eligible` passed.
    max_bytes : int
        Most bytes that a deflated data set may inflate to.

    Raises
    ------
    FilmError
        NO_PIXELS, TRUNCATED, or DECODER_FAILED where the items or the deflated data are malformed.
    """
    body = body_of(file, max_bytes)
    element = file.pixels
    if element is None:
        raise FilmError(Reason.NO_PIXELS, expected="Pixel Data (7FE0,0010)", got="none")
    left = len(body) - element.offset
    if element.length is not None and element.length > left:
        raise FilmError(Reason.TRUNCATED, expected=f"{element.length} bytes of pixel data", got=str(left))
    value = body[element.offset :] if element.length is None else body[element.offset :][: element.length]
    packing = SYNTAXES[file.syntax]
    # Some writers give encapsulated data a length or label them with a native syntax, so the items are looked for.
    frame: bytes | memoryview = b""
    if element.length is None or (packing is not Packing.NATIVE and is_encapsulated(value)):
        frame = join_fragments(value)
    elif packing is not Packing.NATIVE:
        frame = value
    if not frame:
        return Frame(value, Packing.NATIVE)
    return Frame(frame, Packing.RLE if packing is Packing.RLE else Packing.CODESTREAM)


def body_of(file: DicomFile, max_bytes: int) -> memoryview:
    """Return the bytes of the data set, inflated if they are deflated. The offset of `file.pixels` counts in them.

    Raises
    ------
    FilmError
        TOO_LARGE where the data inflate to more than `max_bytes`, TRUNCATED where the deflated stream ends early.
        DECODER_FAILED where the pixel data are followed by anything but an element. A deflated stream has no checksum,
        but corruption shows in the length: in a test, the data of all 60 films that still inflated became longer.
    """
    if file.syntax != DeflatedExplicitVRLittleEndian:
        return memoryview(file.data)[file.start :]
    body, whole = inflate(file.data, file.start, max_bytes)
    if len(body) > max_bytes:
        raise FilmError(Reason.TOO_LARGE, expected=f"at most {max_bytes} bytes inflated", got="more")
    if not whole:
        raise FilmError(Reason.TRUNCATED, expected="a whole deflated stream", got=f"an end after {len(body)} bytes")
    if file.pixels is not None and file.pixels.length is not None:
        end = file.pixels.offset + file.pixels.length
        if end < len(body) and not _may_follow_pixels(body[end : end + 6]):
            raise FilmError(
                Reason.DECODER_FAILED,
                expected="nothing or another element after Pixel Data (7FE0,0010)",
                got="other bytes in the deflated data set",
            )
    return memoryview(body)


def is_encapsulated(value: memoryview) -> bool:
    """Return whether `value` begins with an item tag."""
    return len(value) >= _ITEM_HEADER.size and _ITEM_HEADER.unpack_from(value)[:2] == (_GROUP, _ITEM)


def join_fragments(value: memoryview) -> bytes | memoryview:
    """Return the frame whose fragments follow the basic offset table; a view of `value` where there is only one.

    Parameters
    ----------
    value : memoryview
        From the first item to the sequence delimiter or beyond. The delimiter may be missing where the bytes end with
        an item; the codec then checks the end of the frame.

    Raises
    ------
    FilmError
        TRUNCATED where an item is longer than the rest of the bytes or no fragment follows, DECODER_FAILED where the
        sequence holds anything but items.
    """
    fragments: list[memoryview] = []
    at = 0
    while at < len(value):
        if at + _ITEM_HEADER.size > len(value):
            raise FilmError(Reason.TRUNCATED, expected="an item header", got=f"{len(value) - at} bytes")
        group, element, length = _ITEM_HEADER.unpack_from(value, at)
        at += _ITEM_HEADER.size
        if (group, element) == (_GROUP, _SEQUENCE_END):
            break
        if (group, element) != (_GROUP, _ITEM):
            raise FilmError(Reason.DECODER_FAILED, expected="an item of pixel data", got="another element")
        if length > len(value) - at:
            raise FilmError(Reason.TRUNCATED, expected=f"a fragment of {length} bytes", got=str(len(value) - at))
        fragments.append(value[at : at + length])
        at += length
    parts = fragments[1:]
    frame = parts[0] if len(parts) == 1 else b"".join(parts)
    if not frame:
        raise FilmError(Reason.TRUNCATED, expected="a compressed frame", got="no fragment with bytes in it")
    return frame


def _may_follow_pixels(head: bytes) -> bool:
    """Return whether an element with a tag beyond Pixel Data, in explicit little endian, begins so (PS3.5 7.1)."""
    tag = (int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little"))
    return tag > _PIXEL_DATA and head[4:] in VALUE_REPRESENTATIONS
