"""A DICOM file is parsed up to its pixel data, with or without preamble and file meta."""

from __future__ import annotations

import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.pixel_data import body_of
from tests.support.film_files import dataset, dicom, film, serialise

LIMIT = 2**24


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
)
def test_native_pixels_are_at_the_offset_of_the_element(syntax: str) -> None:
    file = open_dicom(dicom(film(), syntax), LIMIT)
    assert file.syntax == syntax
    assert file.header.rows == film().shape[0]
    assert file.pixels is not None
    value = body_of(file, LIMIT)[file.pixels.offset :][: file.pixels.length]
    expected = film().byteswap() if syntax == ExplicitVRBigEndian else film()
    assert bytes(value) == expected.tobytes()


def test_encapsulated_pixels_have_no_length_and_begin_with_an_item() -> None:
    file = open_dicom(dicom(film(), JPEGLSLossless), LIMIT)
    assert file.pixels is not None and file.pixels.length is None
    assert bytes(body_of(file, LIMIT)[file.pixels.offset :][:4]) == b"\xfe\xff\x00\xe0"


def test_malformed_transfer_syntax_is_detected_from_the_first_element() -> None:
    data = dicom(film())
    at = data.index(b"\x02\x00\x10\x00UI") + 4
    assert open_dicom(data[:at] + b"U\xff" + data[at + 2 :], LIMIT).syntax == ExplicitVRLittleEndian


def test_pixels_of_an_icon_are_not_taken_for_the_film() -> None:
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
