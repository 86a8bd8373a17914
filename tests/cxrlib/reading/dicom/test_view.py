"""The first attribute of the header that states the view decides."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from cxrlib.reading.dicom.header import FilmHeader, read_header
from cxrlib.reading.dicom.view import Projection, projection_of


def header(code: tuple[str, str] | None = None, **elements: object) -> FilmHeader:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    if code is not None:
        item = Dataset()
        item.CodeValue, item.CodeMeaning = code
        made.ViewCodeSequence = [item]
    return read_header(made)


@pytest.mark.parametrize(
    ("made", "projection"),
    [
        (header(ViewPosition="PA"), Projection.PA),
        (header(ViewPosition="AP SUPINE"), Projection.AP),
        (header(code=("272479007", "postero-anterior")), Projection.PA),
        (header(code=("R-10206", "antero-posterior")), Projection.AP),
        (header(code=("399033003", "frontal")), Projection.FRONTAL),
        (header(SeriesDescription="view: PA"), Projection.PA),
        (header(SeriesDescription="CHEST_AP_PORTABLE"), Projection.AP),
        (header(SeriesDescription="PA and LAT"), Projection.UNKNOWN),
        (header(SeriesDescription="bilateral infiltrates"), Projection.UNKNOWN),
        (header(PatientOrientation=["L", "F"]), Projection.UNKNOWN),
        (header(), Projection.UNKNOWN),
    ],
)
def test_frontal_film_has_its_view(made: FilmHeader, projection: Projection) -> None:
    assert projection_of(made) is projection


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
def test_lateral_or_oblique_film_is_not_frontal(made: FilmHeader) -> None:
    assert projection_of(made) is Projection.OTHER


def test_view_position_overrules_a_careless_description() -> None:
    assert projection_of(header(ViewPosition="PA", SeriesDescription="LATERAL")) is Projection.PA
    assert projection_of(header(ViewPosition="LL", SeriesDescription="CHEST PA")) is Projection.OTHER
