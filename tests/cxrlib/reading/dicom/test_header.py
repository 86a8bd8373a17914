"""All values that the reader needs are read from the header in one pass, and nothing else is parsed."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cxrlib.reading.dicom.elements import Elements
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.header import KEYWORDS, FilmHeader, read_header
from tests.support.film_files import dicom, film


def test_empty_header_has_no_values() -> None:
    header = read_header(Dataset())
    for name in FilmHeader.__slots__:
        if name not in ("descriptions", "palettes", "spacings"):
            assert getattr(header, name) in (None, (), 0)


def test_every_keyword_that_is_read_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()

    monkeypatch.setattr(Elements, "value", lambda _, keyword: asked.add(keyword))
    read_header(Dataset())
    assert asked == set(KEYWORDS)


def test_codes_and_tables_come_from_the_items_of_their_sequences() -> None:
    code, table, made = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodeMeaning = "399348003", "antero-posterior"
    table.LUTDescriptor, table.LUTData = [3, 5, 12], [1, 2, 4]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    made.ViewCodeSequence, made.VOILUTSequence = [code], [table]
    header = read_header(made, little_endian=False)
    assert header.view_codes == (("399348003", "antero-posterior"),)
    assert header.modality_lut is None
    assert header.voi_lut is not None
    assert (header.voi_lut.descriptor, header.voi_lut.numbers) == ((3.0, 5.0, 12.0), (1.0, 2.0, 4.0))
    assert header.voi_lut.word == np.dtype(">u2")


def test_names_and_free_text_are_not_parsed() -> None:
    assert "PatientName" not in KEYWORDS
    header = open_dicom(dicom(film(), elements={"PatientName": "Secret^Name"}), 2**24).header
    assert not any("Secret" in str(getattr(header, name)) for name in FilmHeader.__slots__)
