"""How a JPEG 2000 codestream was coded: what has to be known to decode it at a reduced resolution and know the phase.

Marker segments are those of ISO/IEC 15444-1 Annex A. The plain case is described, which is nearly every stream met:
one component, image and tiles that begin at the origin, one coding style for all of it. Anything else is left to the
decoder of whole films.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
_SIZ: Final = struct.Struct(">HHIIIIIIIIHBBB")
_COD: Final = struct.Struct(">HBBHBBBBBB")

_SOT, _SOD, _EOC = 0xFF90, 0xFF93, 0xFFD9
_COD_MARKER: Final = 0xFF52
_QCD_MARKER: Final = 0xFF5C
_HAS_PRECINCTS: Final = 1
#: POC, PPM and PPT: packets in an order of their own, packet headers in a place of their own.
_REORDERINGS: Final = frozenset([0xFF5F, 0xFF60, 0xFF61])
#: COC, RGN and QCC: a coding style, a region of interest or a quantisation of one component by itself.
_EXCEPTIONS: Final = frozenset([0xFF53, 0xFF5E, 0xFF5D])
#: Rsiz of Part 2, whose transforms and offsets are not read here.
_PART_2: Final = 0x8000


class Progression(IntEnum):
    """Order of packets: of layer, resolution, component and position, the last one changes fastest (A.6.1)."""

    LRCP = 0
    RLCP = 1
    RPCL = 2
    PCRL = 3
    CPRL = 4


@dataclass(frozen=True, slots=True)
class CodingStyle:
    """Of a codestream in the plain case.

    Attributes
    ----------
    start : int
        Where the codestream begins in its bytes (a JP2 file has boxes before it).
    levels : int
        Times the wavelet was applied.
    reversible : bool
        Wavelet 5/3; else 9/7.
    tile_rows, tile_columns : int or None
        None where one tile holds the whole image along that axis.
    progression : Progression
    layers : int
    precincts : bool
        Resolutions may have more than one precinct.
    reordered : bool
        The order of packets changes on the way, or their headers stand elsewhere.
    cod : int
        Where the COD marker segment begins.
    qcd : int or None
        Where the QCD marker segment begins; None where there is not one of them, in the main header.
    """

    start: int
    levels: int
    reversible: bool
    tile_rows: int | None
    tile_columns: int | None
    progression: Progression
    layers: int
    precincts: bool
    reordered: bool
    cod: int
    qcd: int | None


def coding_style(data: bytes) -> CodingStyle | None:
    """Return how `data` was coded, or None where it is not the plain case or cannot be read."""
    start = data.find(_SOC_SIZ)
    if start < 0:
        return None
    try:
        return _read(data, start)
    except (struct.error, ValueError):
        return None


def _read(data: bytes, start: int) -> CodingStyle | None:
    size = _SIZ.unpack_from(data, start + 4)
    _, capabilities, columns, rows, *rest = size
    x_offset, y_offset, tile_columns, tile_rows, x_tile, y_tile, samples, _depth, x_step, y_step = rest
    if any((x_offset, y_offset, x_tile, y_tile)) or (samples, x_step, y_step) != (1, 1, 1) or capabilities & _PART_2:
        return None
    cod = None
    quantisations = []
    in_main_header = True
    reordered = False
    for marker, at in _segments(data, start + 2):
        in_main_header = in_main_header and marker != _SOT
        if marker in _EXCEPTIONS:
            return None
        if marker == _COD_MARKER:
            if not in_main_header:
                return None
            cod = at
        if marker == _QCD_MARKER:
            quantisations.append(at if in_main_header else None)
        reordered = reordered or marker in _REORDERINGS
    if cod is None:
        return None
    _, flags, progression, layers, _, levels, _, _, _, transform = _COD.unpack_from(data, cod + 2)
    if transform > 1:  # of Part 2
        return None
    return CodingStyle(
        start=start,
        levels=levels,
        reversible=transform == 1,
        tile_rows=tile_rows if tile_rows < rows else None,
        tile_columns=tile_columns if tile_columns < columns else None,
        progression=Progression(progression),
        layers=layers,
        precincts=bool(flags & _HAS_PRECINCTS),
        reordered=reordered,
        cod=cod,
        qcd=quantisations[0] if len(quantisations) == 1 else None,
    )


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield the marker segments of the main header and of every tile-part's header, with where each begins."""
    tile_part = tile_part_length = 0
    while at + 2 <= len(data):
        (marker,) = struct.unpack_from(">H", data, at)
        if marker == _EOC:
            return
        if marker == _SOD:
            if tile_part_length == 0:  # it reaches to the end of the stream
                return
            at = tile_part + tile_part_length
            continue
        yield marker, at
        if marker == _SOT:
            tile_part = at
            (tile_part_length,) = struct.unpack_from(">I", data, at + 6)
            if 0 < tile_part_length < 14:  # its own segment and SOD: a shorter one would never end
                return
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
