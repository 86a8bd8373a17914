"""The file type is detected from the content."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxr_schemas import Reason, SourceFormat
from cxrlib.errors import FilmError
from cxrlib.reading.file_type import detect_file_type
from tests.support.film_files import dicom, film, jpeg, png


def test_each_format_is_detected_from_its_first_bytes() -> None:
    assert detect_file_type(dicom(film())) is SourceFormat.DICOM
    assert detect_file_type(png(film())) is SourceFormat.PNG
    assert detect_file_type(jpeg(film(bits=8))) is SourceFormat.JPEG


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_bare_data_set_is_detected_from_its_first_element(syntax: str) -> None:
    assert detect_file_type(dicom(film(), syntax, part10=False)) is SourceFormat.DICOM


def test_dicom_whose_preamble_is_another_format_is_dicom() -> None:
    # PS3.10 7.1 allows a preamble that makes the file a valid TIFF too.
    assert detect_file_type(b"II*\0" + dicom(film())[4:]) is SourceFormat.DICOM


def test_no_bytes_are_empty() -> None:
    with pytest.raises(FilmError) as caught:
        detect_file_type(b"")
    assert caught.value.reason is Reason.EMPTY


@settings(deadline=None)
@given(st.text(min_size=1))
def test_text_is_never_an_image(text: str) -> None:
    with pytest.raises(FilmError) as caught:
        detect_file_type(b"name,value\n" + text.encode())
    assert caught.value.reason is Reason.NOT_AN_IMAGE
