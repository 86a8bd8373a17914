"""Decode a film at a reduced resolution: no more of the codestream than the network sees.

JPEG 2000 and HTJ2K: decoding stops at a lower resolution level. The code-blocks of the details are skipped, which are
nearly all of the work. Processor milliseconds for a film of 2001 x 1999, 12 bits stored (15 for lossy), whole and at
levels 1, 2 and 3:

================================== ==== ==== ==== ====
stream, codec                      0    1    2    3
================================== ==== ==== ==== ====
JPEG 2000 lossless, imagecodecs    422  125  33   9
JPEG 2000 lossless, Pillow         746  211  57
JPEG 2000 lossy, imagecodecs       105  52   19   6
JPEG 2000 lossy, Pillow            210  95   33
================================== ==== ==== ==== ====

JPEG 2000 is also decoded without the bit planes that are too fine to show (`cxrlib.reading.jpeg2000.bit_planes`), which
halves the time of a lossless film. `cxrlib.reading.jpeg2000.resolution` chooses the codec. OpenJPH decodes HTJ2K at a
lower resolution by itself. There, values of a lossless stream can exceed its bit depth at edges. OpenJPEG clips them;
OpenJPH would wrap around, so it decodes with one extra bit and this module clips.

JPEG of 8 bits: its own transform halves the film, by decoding 4 x 4 of the 8 x 8 frequencies of a block. This takes
10.0 ms instead of 14.5 (a film of 3000 x 2500, quality 92), and no averaging remains. Halving it again takes 8.6 ms but
triples the change of its grey values.
"""

from __future__ import annotations

from typing import Final

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.codecs import frame_header, jpeg
from cxrlib.reading.codecs.codec_errors import hidden_errors_raised
from cxrlib.reading.codecs.frame_header import FrameHeader, Stream
from cxrlib.reading.jpeg2000.bit_planes import decode_visible_planes
from cxrlib.reading.jpeg2000.markers import CodingStyle, coding_style
from cxrlib.reading.lattice import Kernel, Lattice, Reduced

Pixels = NDArray[np.integer]

#: From the start of a codestream to Ssiz of its first component, the depth less one with the sign in bit 7 (A.5.1).
_SSIZ: Final = 42
_SIGNED: Final = 0x80


def decode_reduced(data: bytes, header: FrameHeader, level: int, grey_scale_width: float = 0.0) -> Reduced | None:
    """Decode a codestream at `level`, or at the lowest resolution it has if that is higher.

    Parameters
    ----------
    data : bytes
        The whole stream; fragments joined.
    header : FrameHeader
        As `frame_header.read_frame_header` reads it; its size is within the limits.
    level : int
        Times the film may be halved.
    grey_scale_width : float
        Stored values over which the display spreads the grey scale: much finer differences may be left out. Infinite
        where only the film itself shows it, 0 where any difference may be visible.

    Returns
    -------
    Reduced or None
        None where the stream has no lower resolution of known geometry, or does not decode at it. Decode the whole
        stream then; that gives the reason if it is damaged.

    Raises
    ------
    FilmError
        TRUNCATED where the stream has no end marker.
    """
    if level < 1 or header.samples != 1 or header.bits > 16:
        return None
    if header.stream in (Stream.JPEG_2000, Stream.HTJ2K):
        return _wavelet(data, header, level, grey_scale_width)
    frame_header.check_whole(data, header)
    return _jpeg(data, header) if header.stream is Stream.JPEG and jpeg.can_be_halved(header) else None


def _wavelet(data: bytes, header: FrameHeader, level: int, grey_scale_width: float) -> Reduced | None:
    frame_header.check_whole(data, header)
    high_throughput = header.stream is Stream.HTJ2K
    repaired = data if high_throughput else frame_header.without_trailing_segments(data) or data
    style = coding_style(data)
    if style is None:
        return None
    level = min(level, style.levels)
    # Integer rounding in the reversible wavelet (ISO/IEC 15444-1 F.4.8.1) makes samples too large by 0.5 at each level,
    # on average: 0.25 along rows and 0.25 along columns.
    kernel, excess = (Kernel.WAVELET_5_3, 0.5 * level) if style.reversible else (Kernel.WAVELET_9_7, 0.0)
    lattice = Lattice(header.rows, header.columns, level, kernel, excess)
    tiles = (side for side in (style.tile_rows, style.tile_columns) if side is not None)
    # The samples of a tile that begins between two steps of the lattice would be elsewhere.
    if level < 1 or any(side % 2**level for side in tiles):
        return None
    try:
        with hidden_errors_raised():
            if high_throughput:
                pixels = _openjph(data[style.start :], header, style, level)
            else:
                pixels = decode_visible_planes(repaired, header, style, level, grey_scale_width)
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


def _openjph(data: bytes, header: FrameHeader, style: CodingStyle, level: int) -> Pixels:
    if not style.reversible:  # computed in floats, which OpenJPH clips
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
