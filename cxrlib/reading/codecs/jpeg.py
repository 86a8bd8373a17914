"""Decode JPEG of 8 bits with libjpeg-turbo, and reject streams that libjpeg reports as damaged.

A damaged stream of Huffman codes usually still decodes, to wrong pixels after the damage. libjpeg warns where the
damage shows at the end: the data run out before the film is full, or are left over after it. Most wrappers drop the
warning. simplejpeg raises it; it wraps libjpeg-turbo 3, as imagecodecs does, and gives the same pixels in the same
time.

Measured on 200 films of 1200 x 1040 with one wrong byte each, for JPEG and JPEG Baseline: this check detects 55 and 41;
without it none is detected. 44 and 45 of the missed films change more than 1 % of the pixels that the network sees (see
tests/benchmarks/README.md, also for other ways of storing a film). simplejpeg does not decode streams of more bits, so
their warnings are lost.
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
#: Colour model to decode to, by the number of channels.
_COLOURS: Final = {1: "GRAY", 3: "RGB"}
#: How libjpeg's messages begin for data that run out before the film is full, and for other damage (jerror.h). Its
#: warnings of unusual headers are no damage.
_EARLY_END: Final = ("Corrupt JPEG data: premature end", "Premature end")
_DAMAGE: Final = ("Corrupt JPEG data", "Inconsistent progression")
_EXPECTED: Final = "a JPEG stream whose data fill the film and end with it"


def can_be_checked(header: FrameHeader) -> bool:
    """Return whether `decode` can decode a stream with this header."""
    known = header.stream is Stream.JPEG and header.process in _PROCESSES
    return known and header.bits == 8 and header.samples in _COLOURS


def can_be_halved(header: FrameHeader) -> bool:
    """Return whether `halve` can decode a stream with this header. libjpeg crashes on half a lossless film."""
    return can_be_checked(header) and header.samples == 1 and not is_lossless_jpeg(header)


def decode(data: bytes, header: FrameHeader) -> NDArray[np.uint8] | None:
    """Decode a stream that `can_be_checked`.

    Returns
    -------
    uint8 array, rows x columns or rows x columns x 3; or None
        Colour is RGB; three channels are taken for YCbCr unless the stream states otherwise. None where simplejpeg
        fails for another reason than damage, so that another codec may try.

    Raises
    ------
    FilmError
        TRUNCATED where libjpeg reports data that end before the film is full, DECODER_FAILED for other damage.
    """
    try:
        return _decoded(data, header, 0, 0)
    except ValueError as error:
        # A codec's message may quote the bytes.
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
        libjpeg fails or warns. Decoding the whole stream then gives the reason, if anything is wrong with it.
    """
    return _decoded(data, header, halved(header.rows, 1), halved(header.columns, 1))


def _decoded(data: bytes, header: FrameHeader, rows: int, columns: int) -> NDArray[np.uint8]:
    """Return the film at the smallest scale with at least `rows` x `columns` pixels, 0 for full size."""
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
    """Return the stream without zeros between its last scan and its end marker, or None where there are none.

    Some writers pad there, and libjpeg warns of these bytes as of any that belong to no pixel.
    """
    end = data.rfind(END_OF_IMAGE)
    scan = data[:end].rstrip(b"\0")
    if scan.endswith(b"\xff"):  # the zero after it is no padding: FF 00 stands for FF (ISO/IEC 10918-1 B.1.1.5)
        scan += b"\0"
    return scan + END_OF_IMAGE if len(scan) < end else None
