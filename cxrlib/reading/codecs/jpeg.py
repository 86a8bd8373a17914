"""JPEG of 8 bits: decoded by libjpeg-turbo, and refused where libjpeg tells of damage.

A damaged stream of Huffman codes mostly goes on decoding, to other pixels from there on. libjpeg warns where that shows
in the end: the data are used up before the film is full, or go on when it is. Most of those that wrap it drop the
warning; simplejpeg, which is libjpeg-turbo 3 as imagecodecs is and gives the same pixels in the same time, raises it.
Of 200 films of 1200 x 1040 with one wrong byte, 41 to 55 are told of so, and none otherwise; 45 are others to the
network all the same (tests/benchmarks/README.md has the other ways of storing a film). Streams of more bits simplejpeg
does not decode, and of what libjpeg warns of in these nothing is heard.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.frame_header import END_OF_IMAGE, FrameHeader, Stream, is_lossless_jpeg
from cxrlib.reading.lattice import halved

#: Baseline, extended sequential, progressive and lossless, by Huffman codes.
_PROCESSES: Final = (0xC0, 0xC1, 0xC2, 0xC3)
#: What to decode each number of channels to.
_COLOURS: Final = {1: "GRAY", 3: "RGB"}
#: How libjpeg begins what it says of data that are used up before the film is full, and of other damage (jerror.h). It
#: warns of odd headers too, which are none.
_EARLY_END: Final = ("Corrupt JPEG data: premature end", "Premature end")
_DAMAGE: Final = ("Corrupt JPEG data", "Inconsistent progression")
_EXPECTED: Final = "a JPEG stream whose data fill the film and end with it"


def can_be_checked(header: FrameHeader) -> bool:
    """Return whether `decode` is for a stream that declares this."""
    known = header.stream is Stream.JPEG and header.process in _PROCESSES
    return known and header.bits == 8 and header.samples in _COLOURS


def can_be_halved(header: FrameHeader) -> bool:
    """Return whether `halve` is for a stream that declares this: asked for half a lossless film, libjpeg crashes."""
    return can_be_checked(header) and header.samples == 1 and not is_lossless_jpeg(header)


def decode(data: bytes, header: FrameHeader) -> NDArray[np.uint8] | None:
    """Decode a stream that `can_be_checked`.

    Returns
    -------
    uint8 array, rows x columns or rows x columns x 3; or None
        Colour as RGB; three channels are taken for YCbCr unless the stream says otherwise. None where simplejpeg fails
        for another reason than damage: another codec may decode it.

    Raises
    ------
    FilmError
        TRUNCATED where libjpeg tells of data that end before the film is full, DECODER_FAILED of other damage.
    """
    try:
        return _decoded(data, header, 0, 0)
    except ValueError as error:
        # What a codec says may quote the bytes.
        if str(error).startswith(_EARLY_END):
            raise FilmError(Reason.TRUNCATED, expected=_EXPECTED, got="data that end early") from error
        if str(error).startswith(_DAMAGE):
            raise FilmError(Reason.DECODER_FAILED, expected=_EXPECTED, got="damaged data") from error
        return None


def halve(data: bytes, header: FrameHeader) -> NDArray[np.uint8]:
    """Decode a stream that `can_be_halved` to half its rows and columns, rounded up.

    Raises
    ------
    ValueError
        libjpeg fails, or warns of anything. What is wrong, if it is, decoding the whole of it tells.
    """
    return _decoded(data, header, halved(header.rows, 1), halved(header.columns, 1))


def _decoded(data: bytes, header: FrameHeader, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the film at the least scale that has so many rows and columns, 0 for all, or raise ValueError."""
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, _COLOURS[header.samples], min_height=rows, min_width=columns
        )
    except ValueError:
        unpadded = _without_padding(data)
        if unpadded is None:
            raise
        return _decoded(unpadded, header, rows, columns)
    return pixels[..., 0] if header.samples == 1 else pixels


def _without_padding(data: bytes) -> bytes | None:
    """Return a stream without zeros between its last scan and its end marker, or None where there are none.

    libjpeg warns of these as of any bytes that no pixel takes, and some writers pad there.
    """
    end = data.rfind(END_OF_IMAGE)
    scan = data[:end].rstrip(b"\0")
    if scan.endswith(b"\xff"):  # what follows it is no padding: FF 00 stands for FF (ISO/IEC 10918-1 B.1.1.5)
        scan += b"\0"
    return scan + END_OF_IMAGE if len(scan) < end else None
