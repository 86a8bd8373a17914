"""Decode a codestream of the JPEG family with the fastest codec that decodes it correctly.

Milliseconds to decode one real chest film of 2048 x 2048, 12 bits stored (8 for baseline), on one core of an idle
machine; the shortest of three runs. "no": does not decode it. "yes": decodes it correctly, but was timed on a busy
machine only. "shifts": decodes it, but scales 12 bits up to 16. The first column is what is used.

========================= =========== ====== ====== ========= =====
syntax                    imagecodecs opencv pillow pylibjpeg gdcm
========================= =========== ====== ====== ========= =====
RLE lossless              7.8         no     no     11.6      no
JPEG baseline (8 bit)     7.4         7.7    8.5    38.7      29.3
JPEG extended (12 bit)    24.7        no     no     96.2      no
JPEG lossless, 14 and SV1 23.5        no     no     139.5     106.6
JPEG-LS lossless          75.3        no     no     370.3     147.5
JPEG-LS near lossless     78.8        no     no     yes       134.6
JPEG 2000 lossless        479.6       462.5  shifts 467.0     380.4
JPEG 2000 lossy           112.9       115.1  shifts 125.2     125.3
HTJ2K lossless            21.0        47.8   yes    59.9      no
HTJ2K lossy               14.8        yes    yes    47.0      no
========================= =========== ====== ====== ========= =====

pyjpegls takes 76.6 and 82.6 ms for JPEG-LS, pydicom's own decoder 69.6 ms for RLE. Native pixels are viewed by numpy
(at most 1.4 ms with overlay bits cleared, on a busy machine). Deflated ones are inflated by zlib, which stops at a
limit and detects a truncated stream (imagecodecs inflates some 3.6 times faster).

imagecodecs is the fastest or within a few percent nearly everywhere, and one dependency for all: it contains
libjpeg-turbo 3 (baseline to lossless, 2 to 16 bits), CharLS, OpenJPEG and OpenJPH. gdcm is a fifth faster on lossless
JPEG 2000, too little for a second native dependency; OpenCV's few percent there are the same OpenJPEG.

Where the first codec fails on a stream, a second one is tried if there is one: jpegsof3 for lossless JPEG, OpenJPEG for
HTJ2K. JPEG of 8 bits is decoded by simplejpeg, which wraps the same libjpeg-turbo and reports damage
(`cxrlib.reading.codecs.jpeg`); imagecodecs gets the streams that simplejpeg cannot decode.
"""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs import frame_header, jpeg
from cxrlib.reading.codecs.codec_errors import hidden_errors_raised
from cxrlib.reading.codecs.frame_header import FrameHeader, Stream

Pixels = NDArray[np.integer]
Decoder = Callable[[bytes], Pixels]


def decode_codestream(data: bytes, header: FrameHeader, *, damaged_jpeg: bool = False) -> Pixels:
    """Decode a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream.

    Parameters
    ----------
    data : bytes
        The whole stream; fragments joined.
    header : FrameHeader
        As `frame_header.read_frame_header` reads it; its size is within the limits.
    damaged_jpeg : bool
        Decode JPEG that libjpeg reports as damaged, instead of rejecting it.

    Returns
    -------
    uint8, uint16, int8 or int16 array, rows x columns or rows x columns x samples
        Colour is RGB where the stream states its colour transform.

    Raises
    ------
    FilmError
        TRUNCATED where the stream has no end marker or ends early. DECODER_FAILED where no codec decodes it, or the
        codec reports damage or returns another size.
    """
    frame_header.check_whole(data, header)
    pixels: Pixels | None = None
    if jpeg.can_be_checked(header) and not damaged_jpeg:
        pixels = jpeg.decode(data, header)
    if pixels is None:
        pixels = _first_that_decodes(data, _decoders(header), header.stream.value)
    expected = (header.rows, header.columns) if header.samples == 1 else (header.rows, header.columns, header.samples)
    if pixels.shape != expected:
        raise FilmError(Reason.DECODER_FAILED, expected=f"pixels of shape {expected}", got=f"shape {pixels.shape}")
    return pixels


def decode_colour_as_stored(data: bytes) -> Pixels:
    """Decode a JPEG of three channels without the colour transform that libjpeg assumes."""
    return _first_that_decodes(data, [_jpeg_untransformed], Stream.JPEG.value)


def _first_that_decodes(data: bytes, decoders: list[Decoder], kind: str) -> Pixels:
    for decoder in decoders:
        try:
            with hidden_errors_raised():
                return decoder(data)
        except (ValueError, RuntimeError):
            # A codec's message may quote the bytes, so only the fact that it failed is used.
            continue
    raise FilmError(
        Reason.DECODER_FAILED, expected=f"a {kind} stream that decodes", got=f"an error of all {len(decoders)} codecs"
    )


def _decoders(header: FrameHeader) -> list[Decoder]:
    match header.stream:
        case Stream.JPEG if frame_header.is_lossless_jpeg(header):
            return [imagecodecs.jpeg8_decode, imagecodecs.jpegsof3_decode]
        case Stream.JPEG:
            return [imagecodecs.jpeg8_decode]
        case Stream.JPEG_LS:
            return [imagecodecs.jpegls_decode]
        case Stream.JPEG_2000:
            return [_jpeg2k]
        case Stream.HTJ2K:
            return [imagecodecs.htj2k_decode, imagecodecs.jpeg2k_decode]


def _jpeg2k(data: bytes) -> Pixels:
    pixels: Pixels = imagecodecs.jpeg2k_decode(frame_header.without_trailing_segments(data) or data)
    return pixels


def _jpeg_untransformed(data: bytes) -> Pixels:
    pixels: Pixels = imagecodecs.jpeg8_decode(
        data, colorspace=imagecodecs.JPEG8.CS.RGB, outcolorspace=imagecodecs.JPEG8.CS.RGB
    )
    return pixels
