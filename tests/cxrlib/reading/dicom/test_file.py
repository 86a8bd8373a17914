"""The container is parsed up to its pixel data and no further, however it begins."""

from __future__ import annotations

import zlib

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.file import open_dicom
from tests.support.film_files import dataset, dicom, film, serialise

LIMIT = 2**24


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_native_pixels_lie_where_the_element_says(syntax: str) -> None:
    file = open_dicom(dicom(film(), syntax), LIMIT)
    assert file.syntax == syntax
    assert file.header.integer("Rows") == film().shape[0]
    assert file.pixels is not None
    value = file.body(LIMIT)[file.pixels.offset :][: file.pixels.length]
    expected = film().byteswap() if syntax == ExplicitVRBigEndian else film()
    assert bytes(value) == expected.tobytes()


def test_encapsulated_pixels_have_no_length_and_begin_with_an_item() -> None:
    file = open_dicom(dicom(film(), JPEGLSLossless), LIMIT)
    assert file.pixels is not None and file.pixels.length is None
    assert bytes(file.body(LIMIT)[file.pixels.offset :][:4]) == b"\xfe\xff\x00\xe0"


def test_malformed_transfer_syntax_is_found_out_from_the_first_element() -> None:
    data = dicom(film())
    at = data.index(b"\x02\x00\x10\x00UI") + 4
    assert open_dicom(data[:at] + b"U\xff" + data[at + 2 :], LIMIT).syntax == ExplicitVRLittleEndian


def test_names_and_free_text_are_not_parsed() -> None:
    assert not open_dicom(dicom(film()), LIMIT).header.has("PatientName")


def test_icon_of_a_film_is_not_taken_for_its_pixels() -> None:
    made = dataset(film())
    icon = dataset(film(8, 8))
    icon.PixelData = film(8, 8).tobytes()
    icon["PixelData"].VR = "OW"
    made.IconImageSequence = [icon]
    made.PixelData = film().tobytes()
    made["PixelData"].VR = "OW"
    file = open_dicom(serialise(made), LIMIT)
    assert file.pixels is not None and file.pixels.length == film().nbytes


@pytest.mark.parametrize("kept", [1, 3, 5])
def test_header_that_breaks_off_within_a_value_is_cut(kept: int) -> None:
    data = serialise(dataset(film()))
    file = open_dicom(data[: data.index(b"CHEST") + kept], LIMIT)
    assert file.pixels is None
    assert file.cut


def test_whole_header_without_pixels_is_not_cut() -> None:
    file = open_dicom(serialise(dataset(film())), LIMIT)
    assert file.pixels is None
    assert not file.cut


def test_deflated_stream_is_inflated_to_its_bound_and_no_further() -> None:
    file = open_dicom(dicom(film(), DeflatedExplicitVRLittleEndian), LIMIT)
    with pytest.raises(FilmError) as caught:
        file.body(film().nbytes // 2)
    assert caught.value.reason is Reason.TOO_LARGE


def test_cut_deflated_stream_is_truncated() -> None:
    data = dicom(film(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(FilmError) as caught:
        open_dicom(data[: len(data) * 3 // 4], LIMIT).body(LIMIT)
    assert caught.value.reason is Reason.TRUNCATED


def deflated_with(after: bytes) -> bytes:
    """A deflated film after whose pixel data there is something else."""
    data = dicom(film(), DeflatedExplicitVRLittleEndian)
    start = open_dicom(data, LIMIT)._start
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
    body = open_dicom(data, LIMIT).body(LIMIT)
    assert bytes(body).endswith(film().tobytes() + after)


@pytest.mark.parametrize(
    "after",
    [b"\x01", bytes(8), b"\x34\x12\x34\x12\x34\x12\x34\x12", b"\x08\0\x60\0CS\2\0DX"],
    ids=["a byte", "zeros", "pixels", "an element that belongs before them"],
)
def test_a_deflated_film_that_goes_on_behind_its_pixels_is_damaged(after: bytes) -> None:
    with pytest.raises(FilmError, match="after Pixel Data") as caught:
        open_dicom(deflated_with(after), LIMIT).body(LIMIT)
    assert caught.value.reason is Reason.DECODER_FAILED


def test_bytes_that_do_not_inflate_fail() -> None:
    data = dicom(film(), DeflatedExplicitVRLittleEndian)
    with pytest.raises(FilmError) as caught:
        open_dicom(data[:-10000] + b"\xff" * 10000, LIMIT).body(LIMIT)
    assert caught.value.reason in (Reason.DECODER_FAILED, Reason.TRUNCATED)
