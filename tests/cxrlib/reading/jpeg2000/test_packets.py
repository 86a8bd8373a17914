"""Bits and codes of JPEG 2000 packet headers follow the standard."""

from __future__ import annotations

import pytest

from cxrlib.reading.jpeg2000.packets import Bits, TagTree, as_bytes, length_code, passes_code, read_passes


@pytest.mark.parametrize("count", range(1, 165))
def test_number_of_passes_is_read_back(count: int) -> None:
    bits = Bits(as_bytes(passes_code(count) + "0"))
    assert read_passes(bits) == count
    assert bits.at == len(passes_code(count))


@pytest.mark.parametrize(("count", "code"), [(1, "0"), (2, "10"), (3, "1100"), (5, "1110"), (6, "111100000")])
def test_codes_of_passes_are_those_of_the_standard(count: int, code: str) -> None:
    assert passes_code(count) == code


@pytest.mark.parametrize(
    ("length", "passes", "width", "code", "next_width"),
    [
        (6, 1, 3, "0110", 3),
        (9, 1, 3, "101001", 4),
        (6, 1, 4, "00110", 4),  # a width is never taken back
        (31, 6, 3, "011111", 3),  # of six passes two bits more
        (32, 6, 3, "10100000", 4),
    ],
)
def test_code_of_a_length_is_that_of_the_standard(  # B.10.7.1
    length: int, passes: int, width: int, code: str, next_width: int
) -> None:
    assert length_code(length, passes, width) == (code, next_width)


def test_ff_bytes_are_followed_by_a_stuffed_bit() -> None:
    text = "1" * 8 + "1" * 7 + "1" * 8 + "01"
    data = as_bytes(text)
    assert data == bytes([0xFF, 0x7F, 0xFF, 0x20])
    bits = Bits(data + b"\xff\xffbody")
    assert bits.take(len(text)) == text
    assert bits.bytes_read() == len(data)


def test_header_that_ends_in_ff_has_one_more_byte() -> None:
    data = as_bytes("1" * 16 + "1" * 7)
    assert data == bytes([0xFF, 0x7F, 0xFF, 0x00])
    bits = Bits(data + b"body")
    bits.take(23)
    assert bits.bytes_read() == 4


def test_reading_beyond_the_last_bit_fails() -> None:
    with pytest.raises(IndexError):
        Bits(b"\x12").take(20)


def test_tag_tree_of_the_standard_is_read() -> None:
    # The example of ISO/IEC 15444-1 B.10.2: the first three numbers of the first row are 1, 3, 2; codes 01111 001 101.
    bits = Bits(as_bytes("01111" + "001" + "101"))
    tree = TagTree(3, 6)
    assert [tree.value(bits, leaf) for leaf in range(3)] == [1, 3, 2]
    assert bits.at == 11


def test_tag_tree_answers_whether_a_number_is_at_most_a_limit() -> None:
    # Two of the four numbers are 0, so the root is 0 and each leaf is coded. The others are 1 and more than 2.
    bits = Bits(as_bytes("1" + "1" + "0" + "0" + "1" + "1" + "0" + "0"))
    tree = TagTree(2, 2)
    assert [tree.is_at_most(bits, leaf, 0) for leaf in range(4)] == [True, False, False, True]
    assert bits.at == 5
    assert [tree.is_at_most(bits, leaf, 1) for leaf in range(4)] == [True, True, False, True]
    assert bits.at == 7
    assert not tree.is_at_most(bits, 2, 2)
    assert bits.at == 8
