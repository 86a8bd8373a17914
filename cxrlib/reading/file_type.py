"""Detect the file type of a film from its content, never from its name."""

from __future__ import annotations

from typing import Final

from cxr_schemas import Reason, SourceFormat
from cxrlib.errors import FilmError

#: Bytes before the "DICM" mark of a Part 10 file (DICOM PS3.10 section 7.1).
PREAMBLE: Final = 128

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_JPEG: Final = b"\xff\xd8\xff"

#: Value representations of DICOM PS3.5 section 6.2, as an explicit VR stream stores them.
VALUE_REPRESENTATIONS: Final = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()
)

#: Groups with which a DICOM stream without a preamble may begin, and the longest plausible first value.
_FIRST_GROUPS: Final = (0x0002, 0x0004, 0x0008)
_LONGEST_FIRST_VALUE: Final = 4096


def detect_file_type(data: bytes) -> SourceFormat:
    """Return the format of `data`.

    A DICOM stream without preamble and file meta is recognised by its first element: a plausible group, followed by
    either a value representation or a short length.

    Raises
    ------
    FilmError
        EMPTY for no bytes at all, NOT_AN_IMAGE for anything but DICOM, PNG and JPEG.
    """
    if not data:
        raise FilmError(Reason.EMPTY, expected="an image", got="0 bytes")
    if data[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return SourceFormat.DICOM
    if data.startswith(_PNG):
        return SourceFormat.PNG
    if data.startswith(_JPEG):
        return SourceFormat.JPEG
    if starts_with_element(data):
        return SourceFormat.DICOM
    raise FilmError(Reason.NOT_AN_IMAGE, expected="a DICOM, PNG or JPEG file", got=f"{len(data)} bytes of another kind")


def starts_with_element(data: bytes) -> bool:
    """Return whether `data` begins with a plausible DICOM element, in either byte order, with or without its VR."""
    head = data[:8]
    if len(head) < 8:
        return False
    for order in ("little", "big"):
        if int.from_bytes(head[:2], order) not in _FIRST_GROUPS:
            continue
        if head[4:6] in VALUE_REPRESENTATIONS:
            return True
        # Big endian is always explicit (PS3.5 A.3), so an element without VR can only be little endian.
        length = int.from_bytes(head[4:8], "little")
        if order == "little" and head[2:4] != b"\xff\xff" and length <= _LONGEST_FIRST_VALUE and length % 2 == 0:
            return True
    return False
