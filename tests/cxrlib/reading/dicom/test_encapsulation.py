"""Fragments are joined, and a sequence of items that was cut is known by their lengths."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.encapsulation import is_encapsulated, join_fragments

DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def reason_of(value: bytes) -> Reason:
    with pytest.raises(FilmError) as caught:
        join_fragments(memoryview(value))
    return caught.value.reason


@settings(deadline=None)
@given(st.binary(min_size=40, max_size=400), st.integers(1, 5), st.booleans())
def test_any_number_of_fragments_gives_back_the_frame(frame: bytes, fragments: int, with_offsets: bool) -> None:
    value = encapsulate([frame], fragments_per_frame=fragments, has_bot=with_offsets)
    assert is_encapsulated(memoryview(value))
    joined = bytes(join_fragments(memoryview(value + DELIMITER + b"what follows")))
    assert joined.rstrip(b"\0") == frame.rstrip(b"\0")


def test_a_single_fragment_is_not_copied() -> None:
    value = memoryview(encapsulate([b"frame "]) + DELIMITER)
    frame = join_fragments(value)
    assert isinstance(frame, memoryview)
    assert frame.obj is value.obj


def test_missing_delimiter_is_let_pass_after_a_whole_item() -> None:
    assert join_fragments(memoryview(encapsulate([b"frame "]))) == b"frame "


@pytest.mark.parametrize("cut", [1, 3, 10])
def test_item_longer_than_the_bytes_left_is_truncated(cut: int) -> None:
    assert reason_of(encapsulate([bytes(range(40))])[:-cut]) is Reason.TRUNCATED


def test_item_header_that_breaks_off_is_truncated() -> None:
    assert reason_of(encapsulate([b"frame "]) + DELIMITER[:5]) is Reason.TRUNCATED


def test_sequence_without_a_fragment_is_truncated() -> None:
    assert reason_of(b"\xfe\xff\x00\xe0\0\0\0\0" + DELIMITER) is Reason.TRUNCATED


def test_other_element_within_the_sequence_fails() -> None:
    assert reason_of(encapsulate([b"frame "]) + b"\x10\x00\x10\x00\0\0\0\0") is Reason.DECODER_FAILED


def test_native_pixels_are_not_encapsulated() -> None:
    assert not is_encapsulated(memoryview(bytes(100)))
    assert not is_encapsulated(memoryview(b"\xfe\xff"))
