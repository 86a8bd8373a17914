"""Read what a codestream declares: its kind, its size, and whether it is complete.

Only markers are read, for two reasons. A film that is too large can be rejected before a codec allocates anything. And
a truncated stream is detected even where the codec fills the gap silently (libjpeg paints grey). JPEG and JPEG-LS
markers are those of ISO/IEC 10918-1 Annex B and 14495-1 Annex C, JPEG 2000 markers those of ISO/IEC 15444-1 Annex A.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cxr_schemas import Reason
from cxrlib.errors import FilmError


class Stream(Enum):
    """Kind of codestream, by its markers."""

    JPEG = "JPEG"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"
    HTJ2K = "high-throughput JPEG 2000"


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What a codestream declares: `rows` x `columns` pixels of `samples` channels with `bits` bits each.

    `process` is the frame type of a JPEG (the low byte of its SOF marker, C0 to CF), else 0.
    """

    stream: Stream
    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False
    process: int = 0


_SOI: Final = b"\xff\xd8"
#: Marker at the end of a JPEG or JPEG 2000 stream (EOI, EOC).
END_OF_IMAGE: Final = b"\xff\xd9"
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_JP2_BOX: Final = b"\x00\x00\x00\x0cjP  "
_SOT: Final = b"\xff\x90"
_CAP: Final = 0x50

#: Frame markers: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
_SOF: Final = frozenset([*range(0xC0, 0xD0), 0xF7]) - {0xC4, 0xC8, 0xCC}
_LOSSLESS: Final = frozenset([0xC3, 0xC7, 0xCB, 0xCF])
_STANDALONE: Final = frozenset([0x01, *range(0xD0, 0xD8)])

#: Most bytes of padding after the end marker: fragments have an even length, and some writers add a few zeros.
_MOST_PADDING: Final = 64


def read_frame_header(data: bytes) -> FrameHeader:
    """Return what the markers before the first scan declare.

    Raises
    ------
    FilmError
        DECODER_FAILED where the bytes are no kind of `Stream`, TRUNCATED where they end before the size.
    """
    try:
        if data.startswith(_SOI):
            return _jpeg_header(data)
        if data.startswith((_SOC_SIZ, _JP2_BOX)):
            return _j2k_header(data)
    except (struct.error, IndexError) as error:
        raise FilmError(Reason.TRUNCATED, expected="a frame header", got=f"an end after {len(data)} bytes") from error
    raise FilmError(Reason.DECODER_FAILED, expected="a JPEG or JPEG 2000 codestream", got="bytes of another kind")


def check_whole(data: bytes, header: FrameHeader) -> None:
    """Raise FilmError TRUNCATED where the codestream has no end marker.

    A JPEG 2000 stream is complete without one (EOC) if its tile-parts state their lengths and none is missing.
    """
    tail = data[-_MOST_PADDING:].rstrip(b"\x00")
    if tail.endswith(END_OF_IMAGE) or data.rfind(END_OF_IMAGE, len(data) - _MOST_PADDING) >= 0:
        return
    if header.stream in (Stream.JPEG_2000, Stream.HTJ2K) and _tile_parts_end(data) is not None:
        return
    # A fixed-size upload may be padded far beyond the end marker.
    if header.stream in (Stream.JPEG, Stream.JPEG_LS) and data.rstrip(b"\x00").endswith(END_OF_IMAGE):
        return
    raise FilmError(
        Reason.TRUNCATED,
        expected=f"an end marker of the {header.stream.value} stream",
        got=f"none in {len(data)} bytes",
    )


def without_trailing_segments(data: bytes) -> bytes | None:
    """Return a JPEG 2000 codestream without the bytes between its last tile-part and EOC, or None if there are none.

    Kakadu 5 padded streams there with a comment segment, which ISO/IEC 15444-1 A.1 does not allow and at which
    OpenJPEG fails ("expected SOT"). The tile-parts state their own lengths, so no sample is lost.
    """
    end = _tile_parts_end(data)
    if end is None or data[end : end + 2] == END_OF_IMAGE:
        return None
    return data[:end] + END_OF_IMAGE


def _jpeg_header(data: bytes) -> FrameHeader:
    at = 2
    while True:
        if data[at] != 0xFF:
            raise FilmError(Reason.DECODER_FAILED, expected="a JPEG marker", got=f"another byte at {at}")
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker in _SOF:
            bits, rows, columns, samples = struct.unpack_from(">BHHB", data, at + 4)
            stream = Stream.JPEG_LS if marker == 0xF7 else Stream.JPEG
            return FrameHeader(stream, rows, columns, samples, bits, process=marker)
        elif marker in (0xDA, 0xD9):
            raise FilmError(Reason.DECODER_FAILED, expected="a JPEG frame header before the scan", got="none")
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])


def is_lossless_jpeg(header: FrameHeader) -> bool:
    """Return whether the stream is JPEG process 14 (with any predictor)."""
    return header.process in _LOSSLESS


def _j2k_header(data: bytes) -> FrameHeader:
    start = data.find(_SOC_SIZ)
    if start < 0:
        raise FilmError(Reason.TRUNCATED, expected="a JPEG 2000 codestream", got="only its file header")
    size = struct.unpack_from(">HHIIII", data, start + 4)
    samples, depth = struct.unpack_from(">HB", data, start + 40)
    _, capabilities, x_size, y_size, x_offset, y_offset = size
    # Bit 14 of Rsiz announces a CAP segment, which Part 15 requires (ISO/IEC 15444-15 A.3).
    high_throughput = bool(capabilities & 0x4000) and _has_marker(data, start, _CAP)
    return FrameHeader(
        Stream.HTJ2K if high_throughput else Stream.JPEG_2000,
        rows=y_size - y_offset,
        columns=x_size - x_offset,
        samples=samples,
        bits=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
    )


def _has_marker(data: bytes, start: int, wanted: int) -> bool:
    at = start + 2
    while data[at] == 0xFF and data[at + 1] != _SOT[1]:
        if data[at + 1] == wanted:
            return True
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return False


def _tile_parts_end(data: bytes) -> int | None:
    """Return where the last tile-part ends; None where one is truncated or does not state its length (Psot = 0)."""
    start = data.find(_SOC_SIZ)
    try:
        at = start + 2
        while data[at] == 0xFF and data[at + 1] != _SOT[1]:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
        parts = 0
        while data[at : at + 2] == _SOT:
            length = int(struct.unpack_from(">I", data, at + 6)[0])
            if length == 0 or at + length > len(data):
                return None
            at += length
            parts += 1
    except (struct.error, IndexError):
        return None
    return at if parts else None
