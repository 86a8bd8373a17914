"""Films are turned so that the patient's left is on the image's right and the head is up."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from cxrlib.reading.dicom.header import FilmHeader, read_header
from cxrlib.reading.dicom.orientation import placement_of
from cxrlib.reading.placement import UPRIGHT as AS_STORED
from cxrlib.reading.placement import Placement, upright

#: The corners of the upright film: right or left of the patient, head or feet.
UPRIGHT = np.array([["RH", "LH"], ["RF", "LF"]])


def header(**elements: object) -> FilmHeader:
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return read_header(made)


def stored_with(row: str, column: str) -> np.ndarray:
    """Return the corners of a film whose rows run towards `row` and columns towards `column`."""
    corner = {"L": ("R", "L"), "R": ("L", "R"), "F": ("H", "F"), "H": ("F", "H")}
    return np.array([["".join(sorted((x, y), key="RLHF".index)) for x in corner[row]] for y in corner[column]])


@pytest.mark.parametrize(("row", "column"), [(a, b) for pair in ("LRFH", "FHLR") for a in pair[:2] for b in pair[2:]])
def test_all_eight_layouts_are_turned_upright(row: str, column: str) -> None:
    placement = placement_of(header(PatientOrientation=[row, column]))
    turned = upright(stored_with(row, column), placement)
    assert np.array_equal(turned, UPRIGHT)
    assert (placement == AS_STORED) == ((row, column) == ("L", "F"))


def test_second_letters_of_an_oblique_axis_are_ignored() -> None:
    assert placement_of(header(PatientOrientation=["RP", "FA"])) == Placement(flip_columns=True)


@pytest.mark.parametrize("value", [[], ["L"], ["L", "P"], ["L", "R"], ["X", "Y"], ["L", "F", "H"]])
def test_impossible_orientation_leaves_the_film_as_it_is(value: list[str]) -> None:
    assert placement_of(header(PatientOrientation=value)) == Placement()


def test_flip_of_the_detector_image_is_not_undone() -> None:
    made = header(PatientOrientation=["L", "F"], FieldOfViewHorizontalFlip="YES")
    assert placement_of(made) == AS_STORED


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        ([1, 0, 0, 0, 0, -1], Placement()),
        ([-1, 0, 0, 0, 0, -1], Placement(flip_columns=True)),
        ([1, 0, 0, 0, 0, 1], Placement(flip_rows=True)),
        ([1, 0, 0, 0, 1, 0], Placement()),  # axial: says nothing of a projection film
        ([0.7, 0.7, 0, 0, 0, -1], Placement()),
    ],
)
def test_direction_cosines_replace_a_missing_orientation(cosines: list[float], expected: Placement) -> None:
    assert placement_of(header(ImageOrientationPatient=cosines)) == expected
