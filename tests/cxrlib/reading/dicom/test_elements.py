"""Missing, empty and malformed values give None, and never an error or a log record."""

from __future__ import annotations

import logging
import warnings

import pytest
from pydicom.dataset import Dataset

from cxrlib.reading.dicom.elements import Elements


def elements(**values: object) -> Elements:
    made = Dataset()
    for keyword, value in values.items():
        setattr(made, keyword, value)
    return Elements(made)


def test_values_are_read_by_type() -> None:
    got = elements(Modality=" DX ", Rows=7, WindowCenter=["40", "50"], PatientOrientation=["L", "F"])
    assert got.text("Modality") == "DX"
    assert got.integer("Rows") == 7
    assert got.numbers("WindowCenter") == (40.0, 50.0)
    assert got.number("WindowCenter") == 40.0
    assert got.texts("PatientOrientation") == ("L", "F")


def test_missing_and_empty_values_are_none() -> None:
    got = elements(Modality="", PixelSpacing=[])
    for keyword in ("Modality", "ViewPosition", "PixelSpacing"):
        assert got.text(keyword) is None
        assert got.number(keyword) is None
        assert got.numbers(keyword) == ()
        assert not got.items(keyword)


@pytest.mark.parametrize("value", [b"abc ", b"1\\x ", b"nan ", b"1e999 "])
def test_malformed_number_is_none(value: bytes) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    made = Dataset()
    tag = Tag("RescaleSlope")
    made[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    assert Elements(made).number("RescaleSlope") is None


def test_unknown_keyword_is_an_error_of_the_caller() -> None:
    with pytest.raises(ValueError, match="got 'WindowCentre'"):
        elements(WindowCenter="40").value("WindowCentre")


def test_fraction_is_not_an_integer() -> None:
    assert elements(WindowCenter="1.5").integer("WindowCenter") is None


def test_header_text_reaches_neither_log_nor_warning(caplog: pytest.LogCaptureFixture) -> None:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    made = Dataset()
    for keyword, vr, value in (("StudyDate", "DA", b"MUSTERMANN"), ("PixelSpacing", "DS", b"MUSTERMANN")):
        tag = Tag(keyword)
        made[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Elements(made).text("StudyDate")
        Elements(made).numbers("PixelSpacing")
    assert "MUSTERMANN" not in caplog.text + " ".join(str(each.message) for each in caught)
