"""Turning a JPEG 2000 codestream into that of the same film at a lower resolution, without decoding it.

Most streams hold their packets lowest resolution first. Then the film at a lower resolution is the beginning of each
tile, and its stream differs from the whole one in the main header alone: the sizes halved, rounded up (ISO/IEC 15444-1
B-15), the number of wavelet levels lowered. Quantisation is stated lowest subband first and counted from there (A.6.4),
precincts and code-blocks are those of their own resolution (B.6, B.7), so all of it stays as it is. A decoder reads
the packets it is told of and leaves the rest of a tile alone.

So the fastest build of OpenJPEG serves, though its binding has no parameter for it: it gives the same samples as
OpenJPEG's own reduction, bit for bit, in half the time of the build that offers it.
"""

from __future__ import annotations

import struct
from typing import Final

from cxrlib.reading.jpeg2000.markers import CodingStyle

_SIZES: Final = struct.Struct(">IIIIIIII")

#: From SOC to Xsiz, and from COD to Scod and to the number of levels (A.5.1, A.6.1).
_XSIZ: Final = 8
_SCOD: Final = 4
_LEVELS: Final = 9
_HAS_PRECINCTS: Final = 1


def at_lower_resolution(data: bytes, style: CodingStyle, level: int) -> bytes | None:
    """Return the codestream of the film halved `level` times.

    Parameters
    ----------
    data : bytes
        The whole stream.
    style : CodingStyle
        Of `data`, as `coding_style` reads it; tiles are a multiple of ``2**level`` wide and high.
    level : int
        1 to ``style.levels``.

    Returns
    -------
    bytes or None
        From SOC on; None where the packets do not stand lowest resolution first.
    """
    if not style.lowest_first:
        return None
    stream = bytearray(memoryview(data)[style.start :])
    columns, rows, x, y, tile_columns, tile_rows, x_tile, y_tile = _SIZES.unpack_from(stream, _XSIZ)
    halves = (-(-side >> level) for side in (columns, rows, tile_columns, tile_rows))
    columns, rows, tile_columns, tile_rows = halves
    _SIZES.pack_into(stream, _XSIZ, columns, rows, x, y, tile_columns, tile_rows, x_tile, y_tile)
    cod = style.cod - style.start
    stream[cod + _LEVELS] -= level
    if stream[cod + _SCOD] & _HAS_PRECINCTS:
        # One byte for each resolution, lowest first: those of the highest go.
        (length,) = struct.unpack_from(">H", stream, cod + 2)
        del stream[cod + 2 + length - level : cod + 2 + length]
        struct.pack_into(">H", stream, cod + 2, length - level)
    return bytes(stream)
