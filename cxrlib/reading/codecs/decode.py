"""Transfer syntaxes and the codec for each: the fastest of those that decode it rightly.

Milliseconds to decode one real chest film of 2048 x 2048, 12 bits stored (8 for baseline), on one core of a machine
with little else to do; the least of three runs. "no": does not decode it. "yes": decodes it rightly, timed on a busy
machine only. "shifts": decodes, but scales 12 bits up to 16. The first column is what is chosen.

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
(1.4 ms with overlay bits cleared, measured on a busy machine, so at most that) and deflated ones are inflated by zlib,
which stops at a bound and tells a cut stream from a whole one (imagecodecs inflates some 3.6 times faster).

imagecodecs is the fastest or within a few percent nearly everywhere, and one dependency for all: it brings
libjpeg-turbo 3 (baseline to lossless, 2 to 16 bits), CharLS, OpenJPEG and OpenJPH. gdcm is a fifth faster on lossless
JPEG 2000, too little for a second native dependency; OpenCV's few percent there are the same OpenJPEG. Where another
implementation is at hand it stands in for the first one that fails on a stream: jpegsof3 for lossless JPEG, OpenJPEG
for HTJ2K. JPEG of 8 bits is decoded by the same libjpeg-turbo as simplejpeg wraps it, which tells of damage
(`cxrlib.reading.codecs.jpeg`); imagecodecs is left what simplejpeg cannot make out.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from enum import Enum
from itertools import pairwise
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs import frame_header, jpeg
from cxrlib.reading.codecs.codec_errors import nothing_ignored
from cxrlib.reading.codecs.frame_header import FrameHeader, Stream

Pixels = NDArray[np.integer]
Decoder = Callable[[bytes], Pixels]


class Packing(Enum):
    """How a transfer syntax stores pixels."""

    NATIVE = "native"
    RLE = "run lengths"
    CODESTREAM = "a JPEG or JPEG 2000 codestream"


#: Every transfer syntax that is read. A codestream says itself which of the JPEG family it is, and is believed: files
#: labelled with the wrong one of these syntaxes are common and harmless.
SYNTAXES: Final[dict[str, Packing]] = {
    str(uid.ImplicitVRLittleEndian): Packing.NATIVE,
    str(uid.ExplicitVRLittleEndian): Packing.NATIVE,
    str(uid.ExplicitVRBigEndian): Packing.NATIVE,
    str(uid.DeflatedExplicitVRLittleEndian): Packing.NATIVE,
    str(uid.RLELossless): Packing.RLE,
    str(uid.JPEGBaseline8Bit): Packing.CODESTREAM,
    str(uid.JPEGExtended12Bit): Packing.CODESTREAM,
    str(uid.JPEGLossless): Packing.CODESTREAM,
    str(uid.JPEGLosslessSV1): Packing.CODESTREAM,
    str(uid.JPEGLSLossless): Packing.CODESTREAM,
    str(uid.JPEGLSNearLossless): Packing.CODESTREAM,
    str(uid.JPEG2000Lossless): Packing.CODESTREAM,
    str(uid.JPEG2000): Packing.CODESTREAM,
    str(uid.HTJ2KLossless): Packing.CODESTREAM,
    str(uid.HTJ2KLosslessRPCL): Packing.CODESTREAM,
    str(uid.HTJ2K): Packing.CODESTREAM,
}


_RLE_HEADER: Final = struct.Struct("<16I")

#: Zeros that a segment may decode to beyond the film: it is padded to be even (PS3.5 G.3.1), by some writers further,
#: and two bytes of padding read as a zero. What is longer is damaged: of 400 films with one wrong byte somewhere, 26
#: decode to 10 bytes or more too many, with all pixels from there on shifted.
_MOST_RLE_PADDING: Final = 4


def decode_codestream(data: bytes, header: FrameHeader, *, damaged_jpeg: bool = False) -> Pixels:
    """Decode a JPEG, JPEG-LS, JPEG 2000 or HTJ2K codestream.

    Parameters
    ----------
    data : bytes
        The whole stream; fragments joined.
    header : FrameHeader
        As `frame_header.frame_header` reads it; the guards have passed on it.
    damaged_jpeg : bool
        Decode JPEG all the same that libjpeg finds damaged.

    Returns
    -------
    uint8, uint16, int8 or int16 array, rows x columns or rows x columns x samples
        Colour as RGB where the stream says how it is transformed.

    Raises
    ------
    FilmError
        TRUNCATED where the stream has no end or ends early, DECODER_FAILED where no codec decodes it, or one tells of
        damage or gives another size.
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
    """Decode a JPEG of three channels without the colour transform that libjpeg takes for granted."""
    return _first_that_decodes(data, [_jpeg_untransformed], Stream.JPEG.value)


def decode_rle(data: bytes | memoryview, rows: int, columns: int, samples: int, bytes_each: int) -> Pixels:
    """Decode one frame of DICOM RLE (PS3.5 Annex G).

    Returns
    -------
    uint8 or uint16 array, rows x columns or samples x rows x columns

    Raises
    ------
    FilmError
        DECODER_FAILED where a segment does not decode, gives more pixels than the film has, or contradicts the header;
        TRUNCATED where one gives too few or begins beyond the bytes.
    """
    wanted = rows * columns * samples * bytes_each
    dtype = np.dtype(f"<u{bytes_each}")
    offsets = _rle_segments(data, samples * bytes_each)
    decoded: bytes | bytearray = b""
    # Where one segment gives too much, the codec may take that for what another lacks. Not so where it is told the size
    # of one plane, with which it is a fifth faster besides: it need not look first.
    if samples == 1:
        with contextlib.suppress(ValueError, RuntimeError):
            decoded = imagecodecs.dicomrle_decode(data, dtype, out=wanted)  # type: ignore[arg-type]  # any buffer will do
    if len(decoded) < wanted:
        decoded = _decode_rle_segments(data, offsets, rows * columns, bytes_each)
    shape = (rows, columns) if samples == 1 else (samples, rows, columns)
    return np.frombuffer(decoded, dtype, count=rows * columns * samples).reshape(shape)


def _rle_segments(data: bytes | memoryview, segments: int) -> list[int]:
    """Return where RLE segments begin (PS3.5 G.5), checked: the codec believes it, and a wrong one is a wild read."""
    if len(data) < _RLE_HEADER.size:
        raise FilmError(Reason.TRUNCATED, expected="a header of run lengths", got=f"{len(data)} bytes")
    count, *offsets = _RLE_HEADER.unpack_from(data)
    if count != segments:
        raise FilmError(Reason.DECODER_FAILED, expected=f"{segments} segments of run lengths", got=f"{count}")
    starts = offsets[:segments]
    if starts[0] != _RLE_HEADER.size or any(later <= earlier for earlier, later in pairwise(starts)):
        raise FilmError(Reason.DECODER_FAILED, expected="segments one after another", got="offsets that do not rise")
    if starts[-1] >= len(data):
        raise FilmError(Reason.TRUNCATED, expected=f"a segment at {starts[-1]}", got=f"{len(data)} bytes")
    return starts


def _decode_rle_segments(data: bytes | memoryview, offsets: list[int], pixels: int, bytes_each: int) -> bytes:
    """Decode each segment by itself, to `pixels` bytes and what little padding there may be."""
    expected = f"run lengths of {pixels} bytes in each segment"
    planes = []
    for start, end in pairwise([*offsets, len(data)]):
        try:
            plane = imagecodecs.packbits_decode(bytes(data[start:end]))
        except (ValueError, RuntimeError) as error:
            raise FilmError(Reason.DECODER_FAILED, expected=expected, got="one that does not decode") from error
        if len(plane) > pixels + _MOST_RLE_PADDING or any(plane[pixels:]):
            raise FilmError(Reason.DECODER_FAILED, expected=expected, got=f"{len(plane)} bytes")
        if len(plane) < pixels:
            raise FilmError(Reason.TRUNCATED, expected=expected, got=f"{len(plane)} bytes")
        planes.append(np.frombuffer(plane, np.uint8, count=pixels))
    # The byte of most weight comes first (G.2).
    samples = np.stack(planes).reshape(-1, bytes_each, pixels)[:, ::-1]
    return samples.transpose(0, 2, 1).tobytes()


def _first_that_decodes(data: bytes, decoders: list[Decoder], kind: str) -> Pixels:
    for decoder in decoders:
        try:
            with nothing_ignored():
                return decoder(data)
        except (ValueError, RuntimeError):
            # What a codec says may quote the bytes; that it failed is all there is to keep.
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
