"""Remove the lowest bit planes from a lossless JPEG 2000 codestream, by rewriting its packet headers.

The lowest planes of a lossless film are noise. They cannot be compressed and take most of the decoding time. Unlike a
lossy stream (`cxrlib.reading.jpeg2000.lossy_bit_planes`), a reversible one has no quantisation step that could be
widened. But the packet headers state how many coding passes each code-block has (ISO/IEC 15444-1 B.10.6). They are
rewritten with fewer passes: the decoder then puts coefficients, at their own size, in the middle of the range that is
not known. The coded bytes do not change. Those of removed passes are dropped with their layer, or stay and are not
read. Each bit plane of a code-block has three passes, its highest has one (D.3).

The stream must store its packets lowest resolution first, in one tile, without markers between them, and code its
code-blocks in the default way. Other streams keep all planes.
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
#: Most bytes that a code-block takes in a packet header, with a margin: bits of its nodes in the tag trees, zero bit
#: planes, passes and length.
_MOST_BYTES: Final = 24
#: Most packets and code-blocks of a resolution, times layers: they take some tens of milliseconds. A film of 4000 x
#: 4000 halved twice has 192 of the usual size.
_MOST_BLOCKS: Final = 16_384
_EOC: Final = b"\xff\xd9"


def without_lowest_planes(data: bytes, style: CodingStyle, planes: Sequence[int]) -> bytes | None:
    """Return a codestream with fewer coding passes, and with only the resolutions of `planes`.

    Parameters
    ----------
    data : bytes
        The whole stream.
    style : CodingStyle
        Of `data`.
    planes : sequence of int
        Number to leave out of each subband: LL, then HL, LH and HH of each resolution.

    Returns
    -------
    bytes or None
        None where the stream is not coded as described above, or its packets contradict its headers.
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

    Raises ValueError where there are more than `_MOST_BLOCKS` allows.
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
        raise ValueError("expected precincts of at least one row and column")
    counts = [-(-side // each) for side, each in zip(size, precinct, strict=True)]
    blocks = sum(-(-band[0] // steps[0]) * -(-band[1] // steps[1]) for band in bands)
    if (blocks + counts[0] * counts[1]) * style.layers > _MOST_BLOCKS:
        raise ValueError(f"expected at most {_MOST_BLOCKS} code-blocks and packets; got more")

    def along(axis: int, band: Sequence[int], number: int) -> int:
        length = min((number + 1) * within[axis], band[axis]) - number * within[axis]
        return max(-(-length // steps[axis]), 0)

    return [
        _Precinct([(along(0, band, row), along(1, band, column)) for band in bands], kept)
        for row in range(counts[0])
        for column in range(counts[1])
    ]


class _Block:
    """A code-block in the layers read so far: length widths as read and as rewritten, and the passes still to keep."""

    __slots__ = ("new_width", "passes_left", "width")

    def __init__(self, passes: int) -> None:
        self.passes_left = passes
        self.width = self.new_width = LEAST_WIDTH


class _Subband:
    """The code-blocks of a subband within a precinct; their `kept` highest bit planes are to be decoded."""

    def __init__(self, rows: int, columns: int, kept: int) -> None:
        self.count = rows * columns
        self._first_layers, self._zero_planes = TagTree(rows, columns), TagTree(rows, columns)
        self._blocks: dict[int, _Block] = {}
        self._kept = kept

    def rewrite(self, number: int, layer: int, bits: Bits) -> tuple[str, int, bool]:
        """Return the rewritten bits of a code-block, its bytes in the packet, and whether these are kept."""
        begin = bits.at
        block = self._blocks.get(number)
        if block is not None:
            if bits.take(1) == "0":
                return "0", 0, False
            included = "1"
        else:
            if not self._first_layers.is_at_most(bits, number, layer):
                return bits.text[begin : bits.at], 0, False
            # At least one pass must be stated; a plane has three, the highest has one.
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
        code, block.new_width = length_code(size, passes, block.new_width)
        return included + passes_code(passes) + code, size, True


class _Precinct:
    """The code-blocks of a precinct; it has one packet in each layer."""

    def __init__(self, sizes: Sequence[tuple[int, int]], kept: Sequence[int]) -> None:
        self._subbands = [_Subband(*size, planes) for size, planes in zip(sizes, kept, strict=True)]
        self._most_bytes = _MOST_BYTES * (1 + sum(subband.count for subband in self._subbands))

    def rewrite(self, data: memoryview, layer: int, packets: list[bytes | memoryview]) -> int:
        """Append the packet at the beginning of `data` to `packets` with fewer passes; return its bytes in `data`.

        Raises ValueError or IndexError where it is malformed.
        """
        bits = Bits(bytes(data[: self._most_bytes]))
        header, sizes = [bits.take(1)], []
        if header[0] == "1":
            for subband in self._subbands:
                for number in range(subband.count):
                    rewritten, size, is_kept = subband.rewrite(number, layer, bits)
                    header.append(rewritten)
                    sizes.append((size, is_kept))
        packets.append(as_bytes("".join(header)))
        at = bits.bytes_read()
        for size, is_kept in sizes:
            if is_kept:
                packets.append(data[at : at + size])
            at += size
        if at > len(data):
            raise ValueError(f"expected a packet of {at} bytes; got {len(data)}")
        return at
