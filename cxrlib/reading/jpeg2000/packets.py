"""Read and write the packet headers of a JPEG 2000 codestream (ISO/IEC 15444-1 B.10)."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import Final

from cxrlib.reading.lattice import halved

#: Bits of the length of one pass of a code-block, until the header raises their number (B.10.7.1).
LEAST_WIDTH: Final = 3
_ONES: Final = b"\xff"


class Bits:
    """The bits of a packet header, without the bit that is stuffed in after each 0xFF byte (B.10.1).

    Parameters
    ----------
    data : bytes
        From the header's first byte to its end or beyond.

    Attributes
    ----------
    text : str
        Ones and zeros.
    at : int
        The next bit.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        parts: list[str] = []
        #: First bit and first byte of each run of bytes that ends with 0xFF.
        self._runs: list[tuple[int, int]] = []
        bit = byte = 0
        for run in (each + _ONES for each in data.split(_ONES)):
            self._runs.append((bit, byte))
            text = f"{int.from_bytes(run):0{8 * len(run)}b}"
            parts.append(text[1:] if byte else text)
            bit += len(parts[-1])
            byte += len(run)
        self.text = "".join(parts)

    def take(self, count: int) -> str:
        """Return the next bits. Raises IndexError where there are no more."""
        begin, self.at = self.at, self.at + count
        if self.at > len(self.text):
            raise IndexError("expected more bits of a packet header")
        return self.text[begin : self.at]

    def zeros(self) -> int:
        """Return the number of zeros before the next one, and skip it. Raises ValueError where there is none."""
        return self._until("1")

    def ones(self) -> int:
        """Return the number of ones before the next zero, and skip it. Raises ValueError where there is none."""
        return self._until("0")

    def _until(self, bit: str) -> int:
        found = self.text.index(bit, self.at)
        count, self.at = found - self.at, found + 1
        return count

    def bytes_read(self) -> int:
        """Return how many bytes the bits read so far take; a byte follows a last 0xFF (B.10.1)."""
        bit, byte = self._runs[bisect_right(self._runs, (self.at - 1, len(self._data))) - 1]
        bits = self.at - bit + (1 if byte else 0)  # with the stuffed bit
        count = byte + -(-bits // 8)
        return count + (self._data[count - 1] == 0xFF)


def as_bytes(bits: str) -> bytes:
    """Return bits as bytes, with a zero stuffed in after each 0xFF byte."""
    found = bytearray()
    at = 0
    while at < len(bits):
        width = 7 if found and found[-1] == 0xFF else 8
        found.append(int(bits[at : at + width].ljust(width, "0"), 2))
        at += width
    if found[-1] == 0xFF:
        found.append(0)
    return bytes(found)


class TagTree:
    """A tag tree: the numbers of a grid, coded as minima of smaller and smaller areas (B.10.2)."""

    def __init__(self, rows: int, columns: int) -> None:
        self._paths = _paths(rows, columns)
        nodes = self._paths[-1][-1] + 1 if self._paths else 0
        self._least = [0] * nodes
        self._known = [False] * nodes

    def is_at_most(self, bits: Bits, leaf: int, most: int) -> bool:
        """Read no more bits than show whether the number of a leaf is `most` or less."""
        least = 0
        for node in self._paths[leaf]:
            least = max(least, self._least[node])
            while not self._known[node] and least <= most:
                if bits.take(1) == "1":
                    self._known[node] = True
                else:
                    least += 1
            self._least[node] = least
        return least <= most

    def value(self, bits: Bits, leaf: int) -> int:
        """Read the number of a leaf."""
        least = 0
        for node in self._paths[leaf]:
            if not self._known[node]:
                self._least[node] = max(least, self._least[node]) + bits.zeros()
                self._known[node] = True
            least = self._least[node]
        return least


@lru_cache(maxsize=256)
def _paths(rows: int, columns: int) -> list[tuple[int, ...]]:
    """Return the nodes from the root of a tag tree to each leaf, row by row. The last leaf is the last node."""
    sizes = [(rows, columns)]
    while max(sizes[0]) > 1:
        sizes.insert(0, (halved(sizes[0][0], 1), halved(sizes[0][1], 1)))
    firsts = list(accumulate((height * width for height, width in sizes), initial=0))
    return [
        tuple(
            first + (row >> up) * width + (column >> up)
            for first, (_, width), up in zip(firsts, sizes, range(len(sizes) - 1, -1, -1), strict=False)
        )
        for row in range(rows)
        for column in range(columns)
    ]


def read_passes(bits: Bits) -> int:
    """Read how many coding passes a code-block has (table B.4)."""
    if bits.take(1) == "0":
        return 1
    if bits.take(1) == "0":
        return 2
    for first, width in ((3, 2), (6, 5)):
        more = bits.take(width)
        if "0" in more:
            return first + int(more, 2)
    return 37 + int(bits.take(7), 2)


def passes_code(count: int) -> str:
    """Return the code word of a number of passes (table B.4)."""
    if count < 3:
        return ("0", "10")[count - 1]
    if count < 6:
        return f"11{count - 3:02b}"
    return f"1111{count - 6:05b}" if count < 37 else f"111111111{count - 37:07b}"


def length_code(length: int, passes: int, width: int) -> tuple[str, int]:
    """Return the code of the length in bytes of so many coding passes, and the width to use for the next ones.

    `width` is the number of bits for one pass so far, `LEAST_WIDTH` at first. Several passes have as many bits more as
    the logarithm of their number.
    """
    more = max(length.bit_length() - width - passes.bit_length() + 1, 0)
    width += more
    return f"{'1' * more}0{length:0{width + passes.bit_length() - 1}b}", width
