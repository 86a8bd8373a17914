"""COVID-QU-Ex: films without annotated infection are not negatives, and missing files are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_schemas import FilmClass
from cxrlib.datasets import LungConvention, Sample, Split, load_dataset, read_dataset
from cxrlib.errors import UsageError
from tests.support.labelled_films import write_covid_qu_ex, write_film, write_flat_png, write_mask
from tests.support.paths import REAL_FILMS as REAL

needs_real_films = pytest.mark.skipif(not REAL.is_dir(), reason="the real films (../shared/data) are missing")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """COVID-QU-Ex with a ``splits.csv``: one film per class."""
    lines = ["path,part,class_folder,patient_id,group,split"]
    for folder, split in (("COVID-19", "train"), ("Non-COVID", "train"), ("Normal", "test")):
        base = tmp_path / "Infection Segmentation Data" / "Train" / folder
        for kind in ("images", "lung masks", "infection masks"):
            write_flat_png(base / kind / "a.png")
        lines.append(f"Infection Segmentation Data/Train/{folder}/images/a.png,Train,{folder},p,g_{folder},{split}")
    (tmp_path / "splits.csv").write_text("\n".join(lines))
    return tmp_path


def by_class(samples: list[Sample]) -> dict[FilmClass | None, Sample]:
    return {sample.film_class: sample for sample in samples}


def test_films_without_annotated_infection_are_not_negatives(listed: Path) -> None:
    found = by_class(read_dataset(listed))
    assert found[FilmClass.PNEUMONIA].infection is None
    assert found[FilmClass.NORMAL].infection is not None
    assert found[FilmClass.COVID19].infection is not None
    assert all(sample.lung_convention is LungConvention.LUNG_FIELD for sample in found.values())
    (note,) = load_dataset(listed).notes
    assert "infection was not annotated on the 1 Non-COVID film" in note


def test_only_the_films_of_the_split_are_returned(listed: Path) -> None:
    assert set(by_class(read_dataset(listed, Split.TEST))) == {FilmClass.NORMAL}


def test_error_names_a_listed_film_and_its_missing_mask(listed: Path) -> None:
    missing = listed / "Infection Segmentation Data" / "Train" / "Normal" / "lung masks" / "a.png"
    missing.unlink()
    with pytest.raises(UsageError, match=r"lists film a\.png: expected its file .*Normal/lung masks/a\.png; got none"):
        read_dataset(listed)


def test_published_folders_give_splits_and_masks(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    found = load_dataset(tmp_path)
    split = {sample.image.name: sample.split for sample in found.samples}
    assert split["covid_1.png"] is split["covid_21.png"] is Split.TRAIN
    assert split["covid_2.png"] is Split.TEST
    assert all(sample.infection is None for sample in found.samples if "Lung Segmentation Data" in sample.image.parts)
    assert any("drawn by film" in note for note in found.notes)
    assert any("with lung masks only" in note for note in found.notes)


def test_film_in_both_parts_is_read_once_with_its_infection_mask(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    (found,) = [sample for sample in read_dataset(tmp_path) if sample.image.name == "covid_2.png"]
    assert "Infection Segmentation Data" in found.image.parts
    assert found.infection is not None


@pytest.mark.parametrize("part", ["Infection Segmentation Data", "Lung Segmentation Data"])
def test_one_part_is_a_data_set_by_itself(tmp_path: Path, part: str) -> None:
    write_covid_qu_ex(tmp_path)
    films = read_dataset(tmp_path / part)
    assert films
    with_infection = {sample.film_class for sample in films if sample.infection is not None}
    assert with_infection == ({FilmClass.COVID19, FilmClass.NORMAL} if part.startswith("Infection") else set())


def test_groups_are_blocks_of_twenty_numbers_or_subjects(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    groups = {sample.image.name: sample.group for sample in read_dataset(tmp_path)}
    assert groups["covid_1.png"] != groups["covid_21.png"]
    assert groups["covid_21.png"] == groups["covid_22.png"]
    assert groups["sub-S07_run-1.png"] == "covid-qu-ex/sub-S07"


def test_training_films_of_a_test_subject_are_dropped(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    base = tmp_path / "Lung Segmentation Data" / "Train" / "COVID-19"
    write_film(base / "images" / "sub-S07_run-9.png", seed=1)
    write_mask(base / "lung masks" / "sub-S07_run-9.png", seed=1)
    found = load_dataset(tmp_path)
    (subject,) = [sample for sample in found.samples if "sub-S07" in sample.group]
    assert subject.split is Split.TEST
    assert any("1 training film left out" in note for note in found.notes)


def test_mask_without_a_film_is_refused(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    spare = tmp_path / "Lung Segmentation Data" / "Test" / "Normal" / "lung masks" / "Normal (99).png"
    write_flat_png(spare)
    with pytest.raises(UsageError, match=r"same name for mask .*Normal \(99\)\.png; got none"):
        read_dataset(tmp_path)


def test_error_names_a_film_and_its_missing_mask(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    base = tmp_path / "Infection Segmentation Data" / "Test" / "COVID-19"
    (base / "infection masks" / "covid_2.png").unlink()
    with pytest.raises(UsageError, match=r"infection masks/covid_2\.png for film .*images/covid_2\.png"):
        read_dataset(tmp_path)


@needs_real_films
def test_real_covid_qu_ex_can_be_read_without_splits_csv() -> None:
    by_folders = read_dataset(REAL / "covid-qu-ex" / "Infection Segmentation Data")
    assert {sample.image for sample in by_folders} == {sample.image for sample in read_dataset(REAL / "covid-qu-ex")}
