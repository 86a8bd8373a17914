"""Read how a JPEG 2000 codestream was coded, as far as decoding it at a reduced resolution needs it.

Marker segments are those of ISO/IEC 15444-1 Annex A. Only the plain case is described, which covers nearly all streams:
one component, image and tiles that begin at the origin, one coding style for all of it. Any other stream is decoded
whole.
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
#: POC, PPM and PPT: a changed order of packets, and packet headers that are stored elsewhere.
_REORDERINGS: Final = frozenset([0xFF5F, 0xFF60, 0xFF61])
#: COC, RGN and QCC: a coding style, a region of interest or a quantisation of one component alone.
_EXCEPTIONS: Final = frozenset([0xFF53, 0xFF5E, 0xFF5D])
#: From COD to the sizes of precincts (A.6.1), and the side of the largest, which holds any film.
_PRECINCTS: Final = 14
_WHOLE: Final = 2**15
#: From QCD to Sqcd and to the first SPqcd (A.6.4).
_SQCD: Final = 4
_SPQCD: Final = 5
#: Markers before and after the header of each packet: SOP and EPH.
_PACKET_MARKERS: Final = 2 | 4
#: Bit of Rsiz for Part 2, whose transforms and offsets are not read here.
_PART_2: Final = 0x8000


class Progression(IntEnum):
    """Order of packets: of layer, resolution, component and position, the last one changes fastest (A.6.1)."""

    LRCP = 0
    RLCP = 1
    RPCL = 2
    PCRL = 3
    CPRL = 4


class Steps(IntEnum):
    """How the quantisation of subbands is stated (table A.28)."""

    NONE = 0
    DERIVED = 1
    EXPOUNDED = 2


@dataclass(frozen=True, slots=True)
class Quantisation:
    """A QCD segment.

    Attributes
    ----------
    at : int
        Offset of the first of its values in the bytes.
    steps : Steps
    guard : int
        Guard bits: bit planes beyond those of the exponents.
    exponents, mantissas : tuple of int
        Of each subband, lowest first: LL, then HL, LH and HH of each resolution. Of LL alone where the others are
        derived from it. Mantissas are 0 where there is no step.
    """

    at: int
    steps: Steps
    guard: int
    exponents: tuple[int, ...]
    mantissas: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TilePart:
    """Offsets of a tile-part: of its SOT marker, of its first packet, and of the end of its packets."""

    start: int
    packets: int
    end: int


@dataclass(frozen=True, slots=True)
class CodingStyle:
    """How a codestream in the plain case was coded.

    Attributes
    ----------
    start : int
        Offset of the codestream in its bytes (a JP2 file has boxes before it).
    rows, columns : int
        Size of the image.
    levels : int
        Times the wavelet was applied.
    reversible : bool
        Wavelet 5/3; else 9/7.
    tile_rows, tile_columns : int or None
        None where one tile spans the whole image along that axis.
    progression : Progression
    layers : int
    lowest_first : bool
        Each tile holds all packets of a resolution before any of the next (B.12.1).
    blocks : (int, int) or None
        Rows and columns of a code-block; None where passes are not coded in the default way (table A.19), or where
        packets have markers.
    precincts : tuple of (int, int)
        Rows and columns of a precinct of each resolution, lowest first; empty where none has more than one.
    tile_parts : tuple of TilePart
    cod : int
        Offset of the COD marker segment.
    quantisation : Quantisation or None
        None unless there is exactly one, in the main header, for all subbands.
    """

    start: int
    rows: int
    columns: int
    levels: int
    reversible: bool
    tile_rows: int | None
    tile_columns: int | None
    progression: Progression
    layers: int
    lowest_first: bool
    blocks: tuple[int, int] | None
    precincts: tuple[tuple[int, int], ...]
    tile_parts: tuple[TilePart, ...]
    cod: int
    quantisation: Quantisation | None

    def precinct(self, resolution: int) -> tuple[int, int]:
        """Return the rows and columns of a precinct of a resolution, 0 the lowest."""
        return self.precincts[resolution] if self.precincts else (_WHOLE, _WHOLE)


def coding_style(data: bytes) -> CodingStyle | None:
    """Return how `data` was coded, or None where this is not the plain case or its markers are malformed."""
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
    tile_parts = []
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
        if marker == _SOT:
            tile_parts.append(at)
        reordered = reordered or marker in _REORDERINGS
    if cod is None:
        return None
    _, flags, progression, layers, _, levels, wide, high, style, transform = _COD.unpack_from(data, cod + 2)
    if transform > 1:  # of Part 2
        return None
    order = Progression(progression)
    precincts = _precincts(data, cod, levels) if flags & _HAS_PRECINCTS else ()
    return CodingStyle(
        start=start,
        rows=rows,
        columns=columns,
        levels=levels,
        reversible=transform == 1,
        tile_rows=tile_rows if tile_rows < rows else None,
        tile_columns=tile_columns if tile_columns < columns else None,
        progression=order,
        layers=layers,
        lowest_first=not reordered and _is_lowest_first(order, layers, precincts),
        blocks=None if style or flags & _PACKET_MARKERS else (1 << high + 2, 1 << wide + 2),
        precincts=precincts,
        tile_parts=tuple(_tile_part(data, start) for start in tile_parts),
        cod=cod,
        quantisation=_quantisation(data, quantisations[0], levels) if len(quantisations) == 1 else None,
    )


def _is_lowest_first(order: Progression, layers: int, precincts: tuple[tuple[int, int], ...]) -> bool:
    match order:
        case Progression.RLCP | Progression.RPCL:
            return True
        case Progression.LRCP:
            return layers == 1
        case Progression.PCRL | Progression.CPRL:
            return not precincts  # one position only


def _precincts(data: bytes, cod: int, levels: int) -> tuple[tuple[int, int], ...]:
    sizes = data[cod + _PRECINCTS : cod + _PRECINCTS + levels + 1]
    if len(sizes) <= levels:
        raise ValueError(f"expected precincts of {levels + 1} resolutions; got {len(sizes)}")
    return tuple((1 << (size >> 4), 1 << (size & 15)) for size in sizes)


def _quantisation(data: bytes, at: int | None, levels: int) -> Quantisation | None:
    if at is None:
        return None
    (length,) = struct.unpack_from(">H", data, at + 2)
    kind = data[at + _SQCD] & 0x1F
    if kind > max(Steps):
        return None
    values: tuple[int, ...]
    if kind == Steps.NONE:
        values = tuple(data[at + _SPQCD : at + 2 + length])
        exponents, mantissas = tuple(each >> 3 for each in values), (0,) * len(values)
    else:
        values = struct.unpack_from(f">{(length + 2 - _SPQCD) // 2}H", data, at + _SPQCD)
        exponents, mantissas = tuple(each >> 11 for each in values), tuple(each & 0x7FF for each in values)
    if len(values) < (1 if kind == Steps.DERIVED else 3 * levels + 1):
        return None
    return Quantisation(at + _SPQCD, Steps(kind), data[at + _SQCD] >> 5, exponents, mantissas)


def _tile_part(data: bytes, start: int) -> TilePart:
    (length,) = struct.unpack_from(">I", data, start + 6)
    at = start
    while data[at : at + 2] != _SOD.to_bytes(2):
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
    return TilePart(start, at + 2, min(start + length, len(data)) if length else len(data))


def _segments(data: bytes, at: int) -> Iterator[tuple[int, int]]:
    """Yield each marker segment of the main header and of the tile-parts' headers, with its offset."""
    tile_part = tile_part_length = 0
    while at + 2 <= len(data):
        (marker,) = struct.unpack_from(">H", data, at)
        if marker == _EOC:
            return
        if marker == _SOD:
            if tile_part_length == 0:  # it extends to the end of the stream
                return
            at = tile_part + tile_part_length
            continue
        yield marker, at
        if marker == _SOT:
            tile_part = at
            (tile_part_length,) = struct.unpack_from(">I", data, at + 6)
            if 0 < tile_part_length < 14:  # too short for its own segment and SOD; the loop would not end
                return
        at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])
