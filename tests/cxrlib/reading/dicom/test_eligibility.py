"""Films with sparse headers, free text or accented letters are accepted."""

from __future__ import annotations

import pytest

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.eligibility import check_eligible
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.view import projection_of
from cxrlib.settings import ReadSettings
from tests.support.film_files import ABSENT, dicom, film


def check(settings: ReadSettings | None = None, **elements: object) -> None:
    data = dicom(film(), elements=elements)
    file = open_dicom(data, 2**24)
    check_eligible(file, projection_of(file.header), len(data), settings or ReadSettings())


@pytest.mark.parametrize("modality", ["CR", "DX", "dx", "OT", ABSENT, ""])
def test_modality_of_a_film_or_none_is_accepted(modality: object) -> None:
    check(Modality=modality)


@pytest.mark.parametrize(
    "part", ["CHEST", "chest", "CHEST PA", "PORTABLE_CHEST", "CHESTABDOMEN", "RIBS", "THORAX AP", "", "UNKNOWN", ABSENT]
)
def test_body_part_of_the_chest_or_none_is_accepted(part: object) -> None:
    check(BodyPartExamined=part)


def test_body_parts_are_compared_without_accents_or_case() -> None:
    check(ReadSettings(body_parts=("Tórax",)), BodyPartExamined="TORAX PA")


def test_settings_choose_the_accepted_modalities_and_body_parts() -> None:
    check(ReadSettings(modalities=("XA",), body_parts=("HAND",)), Modality="XA", BodyPartExamined="HAND")
    with pytest.raises(FilmError) as caught:
        check(ReadSettings(modalities=("XA",)))
    assert caught.value.reason is Reason.WRONG_MODALITY
    assert "XA" in caught.value.expected


def test_private_class_without_a_modality_is_accepted() -> None:
    check(Modality=ABSENT, SOPClassUID="1.3.46.670589.5.0.1.1")


@pytest.mark.parametrize("frames", [1, "1", ABSENT])
def test_single_frame_is_accepted(frames: object) -> None:
    check(NumberOfFrames=frames)


def test_film_of_exactly_the_smallest_and_largest_size_is_accepted() -> None:
    rows, columns = film().shape
    check(ReadSettings(min_side=columns, max_pixels=rows * columns))
