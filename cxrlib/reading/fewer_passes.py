"""Leaving the lowest bit planes of a lossless JPEG 2000 codestream undecoded, where they are finer than what is shown.

The lowest planes of a lossless film are noise, cannot be compressed, and take most of the time of decoding it. The
reversible wavelet has no step that could be stated wider (`cxrlib.reading.bit_planes`); but how many coding passes a
code-block has stands in the header of its packet (ISO/IEC 15444-1 B.10.6), and a decoder that is told of fewer takes
the coefficients to lie in the middle of what it does not know, at their own size. So the headers are written anew with
fewer passes; the coded bytes stay as they are, and are not read to their end. Each plane above the lowest one of a
code-block has three passes, the highest has one (D.3).

The plain case is rewritten, which is nearly every lossless stream met: one tile-part, one layer, one precinct for each
resolution, code-blocks coded in the usual way, no markers among the packets. Others keep their planes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from cxrlib.reading.coding_style import CodingStyle, Steps
from cxrlib.reading.lattice import halved
from cxrlib.reading.packet_header import (
    Bits,
    TagTree,
    as_bytes,
    length_code,
    passes_code,
    read_length,
    read_passes,
)

#: From SOT to Psot, the length of the tile-part (A.4.2).
_PSOT: Final = 6
#: Bytes of a packet header that a code-block takes at most, with room: bits for the tag trees' nodes on the way to it,
#: zero bit planes, passes and length.
_MOST_BYTES: Final = 24
#: Code-blocks of a resolution; a film of 6000 x 6000 has half as many of the usual size.
_MOST_BLOCKS: Final = 16_384
_EOC: Final = b"\xff\xd9"


def without_lowest_planes(data: bytes, style: CodingStyle, planes: Sequence[int]) -> bytes | None:
    """Return the codestream with fewer coding passes, and no more of it than the resolutions of `planes`.

    Parameters
    ----------
    data : bytes
        The whole stream.
    style : CodingStyle
        Of `data`.
    planes : sequence of int
        To leave out of each subband: of LL, then of HL, LH and HH of each resolution.

    Returns
    -------
    bytes or None
        None where the stream is not the plain case, or its packets are not what its headers say.
    """
    quantised, blocks, tile_part = style.quantisation, style.blocks, style.tile_part
    if quantised is None or quantised.steps is not Steps.NONE or blocks is None or tile_part is None:
        return None
    if not style.one_packet_each:
        return None
    rest, at, packets = memoryview(data), tile_part.packets, bytearray()
    try:
        for resolution in range((len(planes) + 2) // 3):
            here = slice(3 * resolution - 2, 3 * resolution + 1) if resolution else slice(1)
            exponents = zip(quantised.exponents[here], planes[here], strict=True)
            kept = [quantised.guard + exponent - 1 - spare for exponent, spare in exponents]  # E-2
            packet, taken = _packet(rest[at : tile_part.end], _subbands(style, blocks, resolution), kept)
            packets += packet
            at += taken
    except (IndexError, ValueError):
        return None
    head = bytearray(data[: tile_part.packets])
    struct.pack_into(">I", head, tile_part.start + _PSOT, len(head) - tile_part.start + len(packets))
    return bytes(head + packets + _EOC)


def _packet(data: memoryview, subbands: Sequence[tuple[int, int]], kept: Sequence[int]) -> tuple[bytes, int]:
    """Return the packet at the beginning of `data` with fewer coding passes, and how many bytes it took.

    Parameters as of `_with_fewer_passes`. Raises ValueError or IndexError where it is no such packet.
    """
    blocks = sum(rows * columns for rows, columns in subbands)
    if blocks > _MOST_BLOCKS:
        raise ValueError(f"expected {_MOST_BLOCKS} code-blocks at most, met {blocks}")
    bits = Bits(bytes(data[: _MOST_BYTES * (blocks + 1)]))
    header, length = _with_fewer_passes(bits, subbands, kept)
    begin = bits.bytes_read()
    if begin + length > len(data):
        raise ValueError(f"expected {length} bytes of code-blocks, met {len(data) - begin}")
    return as_bytes(header) + data[begin : begin + length], begin + length


def _subbands(style: CodingStyle, block: tuple[int, int], resolution: int) -> list[tuple[int, int]]:
    """Return the rows and columns of code-blocks of each subband of a resolution, 0 the lowest (B.5, B.7)."""
    rows, columns = (halved(side, style.levels - resolution) for side in (style.rows, style.columns))
    if resolution == 0:
        sizes = [(rows, columns)]
    else:
        low_rows, low_columns = halved(rows, 1), halved(columns, 1)
        high_rows, high_columns = rows - low_rows, columns - low_columns
        sizes = [(low_rows, high_columns), (high_rows, low_columns), (high_rows, high_columns)]
    return [(-(-height // block[0]), -(-width // block[1])) for height, width in sizes]


def _with_fewer_passes(bits: Bits, subbands: Sequence[tuple[int, int]], kept: Sequence[int]) -> tuple[str, int]:
    """Return the header of a packet with fewer coding passes, in bits, and how many bytes of code-blocks follow it.

    Parameters
    ----------
    bits : Bits
        From the header's first bit on; read to the header's end.
    subbands : sequence of (int, int)
        Rows and columns of code-blocks of each.
    kept : sequence of int
        Bit planes of each, without those that are to be left out.
    """
    if bits.take(1) == "0":
        return "0", 0
    header = ["1"]
    length = 0
    for (rows, columns), planes in zip(subbands, kept, strict=True):
        included, zero_planes = TagTree(rows, columns), TagTree(rows, columns)
        for block in range(rows * columns):
            begin = bits.at
            is_included = included.is_zero(bits, block)
            missing = zero_planes.value(bits, block) if is_included else 0
            header.append(bits.text[begin : bits.at])
            if not is_included:
                continue
            passes = read_passes(bits)
            size = read_length(bits, passes)
            length += size
            # One pass is the least that can be told of; a plane has three, the highest one.
            passes = min(passes, max(3 * (planes - missing) - 2, 1))
            header.append(passes_code(passes) + length_code(size, passes))
    return "".join(header), length
