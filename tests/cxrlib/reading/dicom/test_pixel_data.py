"""Fragments are joined, deflated data inflated, and truncated ones detected."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.pixel_data import body_of, is_encapsulated, join_fragments
from tests.support.film_files import dicom, film

LIMIT = 2**24
DELIMITER = b"\xfe\xff\xdd\xe0\0\0\0\0"


def reason_of(value: bytes) -> Reason:
    with pytest.raises(FilmError) as caught:
        join_fragments(memoryview(value))
    return caught.value.reason


@settings(deadline=None)
@given(st.binary(min_size=40, max_size=400), st.integers(1, 5), st.booleans())
def test_any_number_of_fragments_is_joined(frame: bytes, fragments: int, with_offsets: bool) -> None:
    value = encapsulate([frame], fragments_per_frame=fragments, has_bot=with_offsets)
    assert is_encapsulated(memoryview(value))
    joined = bytes(join_fragments(memoryview(value + DELIMITER + b"other bytes")))
    assert joined.rstrip(b"\0") == frame.rstrip(b"\0")


def test_single_fragment_is_not_copied() -> None:
    value = memoryview(encapsulate([b"frame "]) + DELIMITER)
    frame = join_fragments(value)
    assert isinstance(frame, memoryview)
    assert frame.obj is value.obj


def test_missing_delimiter_after_a_whole_item_is_accepted() -> None:
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


def test_deflated_stream_is_inflated_up_to_the_limit() -> None:
    file = open_dicom(dicom(film(), DeflatedExplicitVRLittleEndian), LIMIT)
    with pytest.raises(FilmError) as caught:
        body_of(file, film().nbytes // 2)
    assert caught.value.reason is Reason.TOO_LARGE


def test_cut_deflated_stream_is_truncated() -> None:
    data = dicom(film(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(FilmError) as caught:
        body_of(open_dicom(data[: len(data) * 3 // 4], LIMIT), LIMIT)
    assert caught.value.reason is Reason.TRUNCATED


def deflated_with(after: bytes) -> bytes:
    """Return a deflated film with the bytes `after` behind its pixel data."""
    data = dicom(film(), DeflatedExplicitVRLittleEndian)
    start = open_dicom(data, LIMIT).start
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = zlib.decompress(data[start:], -zlib.MAX_WBITS)
    return data[:start] + deflate.compress(body + after) + deflate.flush()


@pytest.mark.parametrize(
    "after",
    [b"", b"\xfc\xff\xfc\xffOB\0\0\4\0\0\0\0\0\0\0", b"\xe1\x7f\x10\0LO\4\0MADE"],
    ids=["nothing", "trailing padding", "a private element"],
)
def test_elements_may_follow_the_pixels_of_a_deflated_film(after: bytes) -> None:
    data = deflated_with(after)
    body = body_of(open_dicom(data, LIMIT), LIMIT)
    assert bytes(body).endswith(film().tobytes() + after)


@pytest.mark.parametrize(
    "after",
    [b"\x01", bytes(8), b"\x34\x12\x34\x12\x34\x12\x34\x12", b"\x08\0\x60\0CS\2\0DX"],
    ids=["a byte", "zeros", "pixels", "an element that belongs before them"],
)
def test_deflated_film_with_other_bytes_after_its_pixels_is_damaged(after: bytes) -> None:
    with pytest.raises(FilmError, match="after Pixel Data") as caught:
        body_of(open_dicom(deflated_with(after), LIMIT), LIMIT)
    assert caught.value.reason is Reason.DECODER_FAILED


def test_bytes_that_do_not_inflate_fail() -> None:
    data = dicom(film(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(FilmError) as caught:
        body_of(open_dicom(data[:-10000] + b"\xff" * 10000, LIMIT), LIMIT)
    assert caught.value.reason in (Reason.DECODER_FAILED, Reason.TRUNCATED)
