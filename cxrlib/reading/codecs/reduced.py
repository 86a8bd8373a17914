"""Decoding a film at a reduced resolution: no more of the codestream than the network sees.

A resolution level is left out of JPEG 2000 by not decoding the code-blocks of its details, which are nearly all of the
work. Processor milliseconds for a film of 2001 x 1999, 12 bits stored (15 for lossy), whole and at levels 1, 2 and 3:

================================== ==== ==== ==== ====
stream, by                         0    1    2    3
================================== ==== ==== ==== ====
JPEG 2000 lossless, imagecodecs    422  125  33   9
JPEG 2000 lossless, Pillow         746  211  57
JPEG 2000 lossy, imagecodecs       105  52   19   6
JPEG 2000 lossy, Pillow            210  95   33
================================== ==== ==== ==== ====

imagecodecs has no parameter for it; `lower_resolution` does without one. Pillow's OpenJPEG, which has, is left the
streams whose packets do not stand lowest resolution first. Other decoders were tried on a lossy stream made so, 750 x
625 of a film of 3000 x 2500: imagecodecs 22.4 ms, OpenCV 22.8, FFmpeg's own decoder 34.9, Pillow 40.7. HTJ2K is
OpenJPH's, which leaves levels out by itself. At a reduced level a lossless stream overshoots its own depth at edges:
OpenJPEG clips there; OpenJPH wraps around, so that it is told of one bit more and the clipping is done here.

JPEG 2000 is decoded without the bit planes that no grey shows, too (`bit_planes`): a lossless film in half the time.

JPEG of 8 bits is halved by its own transform, on 4 x 4 of the 8 x 8 frequencies of a block: 10.0 ms for 14.5 (a film of
3000 x 2500, quality 92), and nothing is left to average. Halved again it takes 8.6 ms and its grey moves thrice as far.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from cxrlib.reading.codecs import frame_header, jpeg
from cxrlib.reading.codecs.codec_errors import nothing_ignored
from cxrlib.reading.codecs.frame_header import FrameHeader, Stream
from cxrlib.reading.jpeg2000.bit_planes import without_lowest_planes
from cxrlib.reading.jpeg2000.markers import CodingStyle, coding_style
from cxrlib.reading.jpeg2000.resolution import at_lower_resolution
from cxrlib.reading.lattice import Kernel, Lattice

Pixels = NDArray[np.integer]

#: From the start of a codestream to Ssiz of its first component, the depth less one with the sign in bit 7 (A.5.1).
_SSIZ: Final = 42
_SIGNED: Final = 0x80

#: Leaving bit planes out adds noise of this share of the grey range at most, of a sixth of a step of 8 bits. Percent
#: infected of 150 real films, enlarged and lossless, moved by 0.18 points on average, by 0.17 with all planes; with
#: noise of a fourth of a step that of 80 of them moved by 0.23.
FINENESS: Final = 1 / 1536

#: Halvings more at which the range of a film is looked up, at least: it costs a sixteenth of decoding the film then.
_LEAST_BELOW: Final = 2
#: About so many rows and columns are looked at for it.
_SPARSE_SIDE: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Reduced:
    """A film of one channel at a reduced resolution.

    Attributes
    ----------
    pixels : uint8, uint16, int8 or int16 array of ``lattice.shape``
        Of the type and scale that decoding the whole film gives.
    lattice : Lattice
    """

    pixels: Pixels
    lattice: Lattice


def decode_reduced(data: bytes, header: FrameHeader, level: int, shown: float = 0.0) -> Reduced | None:
    """Decode a codestream at `level`, or at the lowest resolution it has if that is more.

    Parameters
    ----------
    data : bytes
        The whole stream; fragments joined.
    header : FrameHeader
        As `frame_header.frame_header` reads it; the guards have passed on it.
    level : int
        Times the film may be halved.
    shown : float
        Stored values over which the display spreads the grey scale; infinite where only the film can tell, 0 where it
        may be any few of them. What is far finer may be left out.

    Returns
    -------
    Reduced or None
        None where the stream has no lower resolution whose geometry is sure, or does not decode at it. What is wrong
        with such a stream, if anything is, decoding the whole of it tells.

    Raises
    ------
    FilmError
        TRUNCATED where the stream has no end.
    """
    if level < 1 or header.samples != 1 or header.bits > 16:
        return None
    frame_header.check_whole(data, header)
    match header.stream:
        case Stream.JPEG_2000 | Stream.HTJ2K:
            return _wavelet(data, header, level, shown)
        case Stream.JPEG if jpeg.can_be_halved(header):
            return _jpeg(data, header)
        case _:
            return None


def _wavelet(data: bytes, header: FrameHeader, level: int, shown: float) -> Reduced | None:
    style = coding_style(data)
    if style is None:
        return None
    level = min(level, style.levels)
    # Each step of the reversible wavelet rounds down: a detail is too large by 1/4, a sample by half of that and by the
    # 1/8 of its own rounding (F.4.8.1), along rows and along columns alike.
    kernel, excess = (Kernel.WAVELET_5_3, 0.5 * level) if style.reversible else (Kernel.WAVELET_9_7, 0.0)
    lattice = Lattice(header.rows, header.columns, level, kernel, excess)
    tiles = (side for side in (style.tile_rows, style.tile_columns) if side is not None)
    # Samples of a tile that begins between two steps of the lattice would lie elsewhere.
    if level < 1 or any(side % 2**level for side in tiles):
        return None
    try:
        with nothing_ignored():
            if header.stream is Stream.HTJ2K:
                pixels = _openjph(data[style.start :], header, style, level)
            else:
                pixels = _finely_enough(
                    frame_header.without_trailing_segments(data) or data, header, style, level, shown
                )
    except (ValueError, RuntimeError, OSError, SyntaxError):
        return None
    return Reduced(pixels, lattice) if pixels.shape == lattice.shape else None


def _jpeg(data: bytes, header: FrameHeader) -> Reduced | None:
    lattice = Lattice(header.rows, header.columns, 1, Kernel.BLOCK)
    try:
        pixels = jpeg.halve(data, header)
    except ValueError:
        return None
    return Reduced(pixels, lattice) if pixels.shape == lattice.shape else None


def _finely_enough(data: bytes, header: FrameHeader, style: CodingStyle, level: int, shown: float) -> Pixels:
    """Decode without the bit planes that are finer than what is shown of the film needs.

    Where that is not known, the lowest resolution tells the film's range. A film that fills less than half of what is
    shown is taken by its own range too: it may be shown otherwise for that (`cxrlib.reading.display.grayscale`).
    """
    if shown == 0:
        return _openjpeg(data, header, style, level)
    grey_range = min(shown, 2.0**header.bits)
    if math.isinf(shown):
        lowest = without_lowest_planes(data, style, header.bits, style.levels, 0.0)
        if lowest is None or style.levels - level < _LEAST_BELOW:
            return _openjpeg(data, header, style, level)
        grey_range = _span(_openjpeg(lowest, header, style, style.levels))
    while True:
        fewer = without_lowest_planes(data, style, header.bits, level, FINENESS * grey_range)
        samples = _openjpeg(data if fewer is None else fewer, header, style, level)
        span = _span(samples)
        if fewer is None or span >= grey_range / 2:
            return samples
        grey_range = span


def _span(samples: Pixels) -> float:
    """Return what the central 90 % of the samples span, some of them."""
    sparse = max(1, min(samples.shape) // _SPARSE_SIDE)
    low, high = np.percentile(samples[::sparse, ::sparse], (5.0, 95.0), method="inverted_cdf")
    return float(high) - float(low)


def _openjpeg(data: bytes, header: FrameHeader, style: CodingStyle, level: int) -> Pixels:
    lower = at_lower_resolution(data, style, level)
    if lower is not None:
        pixels: Pixels = imagecodecs.jpeg2k_decode(lower)
        return pixels
    return _at_own_depth(_pillow(data[style.start :], level), header)


def _pillow(data: bytes, level: int) -> NDArray[np.unsignedinteger]:
    """Return what Pillow gives: the depth scaled up to 8 or 16 bits, signed values raised to unsigned ones."""
    with Jpeg2KImageFile(io.BytesIO(data)) as image:
        # Not by its `reduce`, which rounds sizes to the nearest: a level has its own rounded up (B-15).
        image.tile = [image.tile[0]._replace(args=("j2k", level, 0, -1, len(data)))]
        columns, rows = image.size
        image.load()
        return np.asarray(image.crop((0, 0, -(-columns >> level), -(-rows >> level))))


def _at_own_depth(pixels: NDArray[np.unsignedinteger], header: FrameHeader) -> Pixels:
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError("an image of one channel of 8 or 16 bits was expected")
    own = pixels >> (8 * pixels.dtype.itemsize - header.bits)
    if not header.signed:
        return own
    signed = own.astype(np.int32) - (1 << (header.bits - 1))
    return signed.astype(f"i{pixels.dtype.itemsize}")


def _openjph(data: bytes, header: FrameHeader, style: CodingStyle, level: int) -> Pixels:
    if not style.reversible:  # computed in floats, which it clips
        pixels: Pixels = imagecodecs.htj2k_decode(data, skipres=level)
        return pixels
    # Signed, so that no mean is added, and one bit deeper: a reversible stream decodes to the same integers.
    widened = bytearray(data)
    widened[_SSIZ] = _SIGNED | header.bits
    values = imagecodecs.htj2k_decode(bytes(widened), skipres=level).astype(np.int32)
    half = 1 << (header.bits - 1)
    clipped = np.clip(values, -half, half - 1)
    width = 1 if header.bits <= 8 else 2
    return clipped.astype(f"i{width}") if header.signed else (clipped + half).astype(f"u{width}")
