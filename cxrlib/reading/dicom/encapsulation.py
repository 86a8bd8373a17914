"""Encapsulated pixel data: the items that hold a compressed frame, joined (DICOM PS3.5 Annex A.4).

A film is one frame, so whatever number of fragments there is belongs to it, and the offset table that comes first is
of no use. The items' own lengths show whether the file was cut.
"""

from __future__ import annotations

import struct
from typing import Final

from cxr_schemas import Reason
from cxrlib.errors import FilmError

_ITEM: Final = 0xE000
_SEQUENCE_END: Final = 0xE0DD
_GROUP: Final = 0xFFFE
_HEADER: Final = struct.Struct("<HHI")  # compressed syntaxes are little endian, all of them (PS3.5 A.4)


def is_encapsulated(value: memoryview) -> bool:
    """Return whether `value` begins with an item tag."""
    return len(value) >= _HEADER.size and _HEADER.unpack_from(value)[:2] == (_GROUP, _ITEM)


def join_fragments(value: memoryview) -> bytes | memoryview:
    """Return the frame whose fragments `value` holds after the basic offset table; a view of it where it is one.

    Parameters
    ----------
    value : memoryview
        From the first item on, to or beyond the sequence delimiter. A missing delimiter is let pass where the bytes
        end with an item: the codestream's own end then decides.

    Raises
    ------
    FilmError
        TRUNCATED where an item is longer than what is left or no fragment follows, DECODER_FAILED where something
        other than an item stands in the sequence.
    """
    fragments: list[memoryview] = []
    at = 0
    while at < len(value):
        if at + _HEADER.size > len(value):
            raise FilmError(Reason.TRUNCATED, expected="an item header", got=f"{len(value) - at} bytes")
        group, element, length = _HEADER.unpack_from(value, at)
        at += _HEADER.size
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
