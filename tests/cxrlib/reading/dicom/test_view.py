"""The view is taken from the first part of the header that says one."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from cxr_schemas import View
from cxrlib.reading.dicom.header import Header
from cxrlib.reading.dicom.view import is_frontal, view_of


def header(code: tuple[str, str] | None = None, **elements: object) -> Header:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    if code is not None:
        item = Dataset()
        item.CodeValue, item.CodeMeaning = code
        made.ViewCodeSequence = [item]
    return Header(made)


@pytest.mark.parametrize(
    ("made", "view"),
    [
        (header(ViewPosition="PA"), View.PA),
        (header(ViewPosition="AP SUPINE"), View.AP),
        (header(code=("272479007", "postero-anterior")), View.PA),
        (header(code=("R-10206", "antero-posterior")), View.AP),
        (header(code=("399033003", "frontal")), View.UNKNOWN),
        (header(SeriesDescription="view: PA"), View.PA),
        (header(SeriesDescription="CHEST_AP_PORTABLE"), View.AP),
        (header(SeriesDescription="PA and LAT"), View.UNKNOWN),
        (header(SeriesDescription="bilateral infiltrates"), View.UNKNOWN),
        (header(PatientOrientation=["L", "F"]), View.UNKNOWN),
        (header(), View.UNKNOWN),
    ],
)
def test_frontal_film_has_its_view(made: Header, view: View) -> None:
    assert is_frontal(made)
    assert view_of(made) is view


@pytest.mark.parametrize(
    "made",
    [
        header(ViewPosition="LL"),
        header(ViewPosition="lateral"),
        header(ViewPosition="LPO"),
        header(ViewPosition="RLD"),
        header(code=("399198007", "right lateral")),
        header(code=("99999", "left lateral")),
        header(PatientOrientation=["P", "F"]),
        header(PatientOrientation=["AL", "F"]),
        header(SeriesDescription="Thorax seitlich"),
        header(SeriesDescription="LATERAL, standing"),
    ],
)
def test_lateral_or_oblique_film_is_not_frontal(made: Header) -> None:
    assert not is_frontal(made)


def test_coded_view_outranks_a_careless_description() -> None:
    assert is_frontal(header(ViewPosition="PA", SeriesDescription="LATERAL"))
    assert not is_frontal(header(ViewPosition="LL", SeriesDescription="CHEST PA"))
