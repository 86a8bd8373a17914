"""A lossless JPEG 2000 codestream without its lowest bit planes.

The lowest planes of a lossless film are noise, cannot be compressed, and take most of the time of decoding it. The
reversible wavelet has no step that could be stated wider (`cxrlib.reading.jpeg2000.lossy_bit_planes`); but how many coding passes a
code-block has stands in the headers of its packets (ISO/IEC 15444-1 B.10.6), and a decoder that is told of fewer takes
coefficients to lie in the middle of what it does not know, at their own size. So the headers are written anew with
fewer passes. What is coded stays as it is; the bytes of passes that are left out are left out with their layer, or
stay, and are not read. Each bit plane of a code-block has three passes, its highest has one (D.3).

Packets have to stand lowest resolution first, in one tile, without markers between them, and code-blocks must be coded
in the usual way. Other streams keep their planes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Final

from cxrlib.reading.jpeg2000.markers import CodingStyle, Progression, Steps
from cxrlib.reading.jpeg2000.packets import LEAST_WIDTH, Bits, TagTree, as_bytes, length_code, passes_code, read_passes
from cxrlib.reading.lattice import halved

#: From SOT to Psot, the length of the tile-part, and to TNsot, how many there are (A.4.2).
_PSOT: Final = 6
_TNSOT: Final = 11
#: Bytes of a packet header that a code-block takes at most, with room: bits for the tag trees' nodes on the way to it,
#: zero bit planes, passes and length.
_MOST_BYTES: Final = 24
#: Packets and code-blocks of a resolution, times layers: some tens of milliseconds. A film of 4000 x 4000 halved twice
#: has 192 of the usual size.
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
        None where the stream is none of those above, or its packets are not what its headers say.
    """
    quantised, blocks = style.quantisation, style.blocks
    if quantised is None or quantised.steps is not Steps.NONE or blocks is None or not style.tile_parts:
        return None
    if not style.lowest_first or style.tile_rows is not None or style.tile_columns is not None:
        return None
    parts = [memoryview(data)[part.packets : part.end] for part in style.tile_parts]
    rest = parts[0] if len(parts) == 1 else memoryview(b"".join(parts))
    packets: list[bytes | memoryview] = []
    try:
        for resolution in range((len(planes) + 2) // 3):
            here = slice(3 * resolution - 2, 3 * resolution + 1) if resolution else slice(1)
            exponents = zip(quantised.exponents[here], planes[here], strict=True)
            kept = [quantised.guard + exponent - 1 - spare for exponent, spare in exponents]  # E-2
            for precinct, layer in _in_order(style, blocks, resolution, kept):
                taken = precinct.rewrite(rest, layer, packets)
                rest = rest[taken:]
    except (IndexError, ValueError):
        return None
    head = bytearray(data[: style.tile_parts[0].packets])
    body = b"".join(packets)
    start = style.tile_parts[0].start
    struct.pack_into(">I", head, start + _PSOT, len(head) - start + len(body))
    head[start + _TNSOT] = 1
    return bytes(head) + body + _EOC


def _in_order(
    style: CodingStyle, block: tuple[int, int], resolution: int, kept: Sequence[int]
) -> Iterator[tuple[_Precinct, int]]:
    """Yield the precinct and the layer of each packet of a resolution (B.12.1).

    Raises ValueError where there are more than a film can have.
    """
    precincts = _precincts(style, block, resolution, kept)
    if style.progression is Progression.RPCL:
        yield from product(precincts, range(style.layers))
    else:
        yield from ((precinct, layer) for layer, precinct in product(range(style.layers), precincts))


def _precincts(style: CodingStyle, block: tuple[int, int], resolution: int, kept: Sequence[int]) -> list[_Precinct]:
    """Return the precincts of a resolution, row by row, each with its code-blocks (B.6, B.7)."""
    size = [halved(side, style.levels - resolution) for side in (style.rows, style.columns)]
    precinct = within = style.precinct(resolution)
    bands = [size]
    if resolution:
        low = [halved(side, 1) for side in size]
        high = [side - half for side, half in zip(size, low, strict=True)]
        bands = [[low[0], high[1]], [high[0], low[1]], high]
        within = (precinct[0] // 2, precinct[1] // 2)
    steps = [min(each, side) for each, side in zip(block, within, strict=True)]
    if min(steps) < 1:
        raise ValueError("expected precincts of code-blocks")
    counts = [-(-side // each) for side, each in zip(size, precinct, strict=True)]
    blocks = sum(-(-band[0] // steps[0]) * -(-band[1] // steps[1]) for band in bands)
    if (blocks + counts[0] * counts[1]) * style.layers > _MOST_BLOCKS:
        raise ValueError(f"expected {_MOST_BLOCKS} code-blocks and packets at most")

    def along(axis: int, band: Sequence[int], number: int) -> int:
        length = min((number + 1) * within[axis], band[axis]) - number * within[axis]
        return max(-(-length // steps[axis]), 0)

    return [
        _Precinct([(along(0, band, row), along(1, band, column)) for band in bands], kept)
        for row in range(counts[0])
        for column in range(counts[1])
    ]


class _Block:
    """What is known of a code-block from the packets of the layers so far: as it was, and as it is written anew."""

    __slots__ = ("passes_left", "width", "width_anew")

    def __init__(self, passes: int) -> None:
        self.passes_left = passes
        self.width = self.width_anew = LEAST_WIDTH


class _Subband:
    """The code-blocks of a subband within a precinct, of which `kept` bit planes are to be decoded."""

    def __init__(self, rows: int, columns: int, kept: int) -> None:
        self.count = rows * columns
        self._first_layers, self._zero_planes = TagTree(rows, columns), TagTree(rows, columns)
        self._blocks: dict[int, _Block] = {}
        self._kept = kept

    def rewrite(self, number: int, layer: int, bits: Bits) -> tuple[str, int, bool]:
        """Return what a header says of a code-block anew, how many bytes it has in the packet, whether they stay."""
        begin = bits.at
        block = self._blocks.get(number)
        if block is not None:
            if bits.take(1) == "0":
                return "0", 0, False
            included = "1"
        else:
            if not self._first_layers.is_at_most(bits, number, layer):
                return bits.text[begin : bits.at], 0, False
            # One pass is the least that can be told of; a plane has three, the highest one.
            planes = self._kept - self._zero_planes.value(bits, number)
            block = self._blocks[number] = _Block(max(3 * planes - 2, 1))
            included = bits.text[begin : bits.at]
        passes = read_passes(bits)
        block.width += bits.ones()
        size = int(bits.take(block.width + passes.bit_length() - 1), 2)
        if not block.passes_left:
            return "0", size, False
        passes = min(passes, block.passes_left)
        block.passes_left -= passes
        code, block.width_anew = length_code(size, passes, block.width_anew)
        return included + passes_code(passes) + code, size, True


class _Precinct:
    """The code-blocks whose packets belong together, one for each layer."""

    def __init__(self, sizes: Sequence[tuple[int, int]], kept: Sequence[int]) -> None:
        self._subbands = [_Subband(*size, planes) for size, planes in zip(sizes, kept, strict=True)]
        self._most_bytes = _MOST_BYTES * (1 + sum(subband.count for subband in self._subbands))

    def rewrite(self, data: memoryview, layer: int, packets: list[bytes | memoryview]) -> int:
        """Write the packet at the beginning of `data` with fewer passes, and return how many bytes it took.

        Raises ValueError or IndexError where it is no such packet.
        """
        bits = Bits(bytes(data[: self._most_bytes]))
        header, sizes = [bits.take(1)], []
        if header[0] == "1":
            for subband in self._subbands:
                for number in range(subband.count):
                    said, size, stays = subband.rewrite(number, layer, bits)
                    header.append(said)
                    sizes.append((size, stays))
        packets.append(as_bytes("".join(header)))
        at = bits.bytes_read()
        for size, stays in sizes:
            if stays:
                packets.append(data[at : at + size])
            at += size
        if at > len(data):
            raise ValueError(f"expected a packet of {at} bytes, got {len(data)}")
        return at
