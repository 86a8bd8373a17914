"""Values that are missing, empty or malformed come back as none, and never as an error or a log record."""

from __future__ import annotations

import logging
import warnings

import pytest
from pydicom.dataset import Dataset

from cxrlib.reading.dicom.file import KEYWORDS
from cxrlib.reading.dicom.header import Header


def header(**elements: object) -> Header:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return Header(made)


def test_values_are_read_by_their_kind() -> None:
    got = header(Modality=" DX ", Rows=7, WindowCenter=["40", "50"], PatientOrientation=["L", "F"])
    assert got.text("Modality") == "DX"
    assert got.integer("Rows") == 7
    assert got.numbers("WindowCenter") == (40.0, 50.0)
    assert got.number("WindowCenter") == 40.0
    assert got.texts("PatientOrientation") == ("L", "F")


def test_missing_and_empty_values_are_none() -> None:
    got = header(Modality="", PixelSpacing=[])
    for keyword in ("Modality", "ViewPosition", "PixelSpacing"):
        assert got.text(keyword) is None
        assert got.number(keyword) is None
        assert got.numbers(keyword) == ()
        assert not got.items(keyword)
    assert got.has("Modality") and not got.has("ViewPosition")


@pytest.mark.parametrize("value", [b"abc ", b"1\\x ", b"nan ", b"1e999 "])
def test_malformed_number_is_none(value: bytes) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    made = Dataset()
    tag = Tag("RescaleSlope")
    made[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    assert Header(made).number("RescaleSlope") is None


def test_every_keyword_that_is_parsed_is_in_the_dictionary() -> None:
    got = header()
    assert [got.value(keyword) for keyword in KEYWORDS] == [None] * len(KEYWORDS)


def test_keyword_that_is_in_no_dictionary_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="got 'WindowCentre'"):
        header(WindowCenter="40").value("WindowCentre")


def test_fraction_is_no_integer() -> None:
    assert header(WindowCenter="1.5").integer("WindowCenter") is None


def test_header_text_reaches_neither_log_nor_warning(caplog: pytest.LogCaptureFixture) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    made = Dataset()
    for keyword, vr, value in (("StudyDate", "DA", b"MUSTERMANN"), ("PixelSpacing", "DS", b"MUSTERMANN")):
        tag = Tag(keyword)
        made[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Header(made).text("StudyDate")
        Header(made).numbers("PixelSpacing")
    assert "MUSTERMANN" not in caplog.text + " ".join(str(each.message) for each in caught)
