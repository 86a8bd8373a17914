"""Data set readers: labels that nobody drew are not taken for negatives, and missing files are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_flows.cli.models.evaluate import EPILOG
from cxr_schemas import FilmClass
from cxrlib.datasets import LAYOUTS, LungConvention, Sample, Split, load_dataset, read_dataset, read_mask
from cxrlib.datasets.sample import MaskUnion
from cxrlib.errors import UsageError
from tests.support.labelled_films import write_covid_qu_ex, write_film, write_flat_png, write_mask
from tests.support.paths import REAL_FILMS as REAL

needs_real_films = pytest.mark.skipif(not REAL.is_dir(), reason="the real films (../shared/data) are not here")


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """COVID-QU-Ex with a ``splits.csv``: one film a class."""
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


def test_infection_that_nobody_drew_is_not_a_negative_and_the_reader_says_so(listed: Path) -> None:
    found = by_class(read_dataset(listed))
    assert found[FilmClass.PNEUMONIA].infection is None
    assert found[FilmClass.NORMAL].infection is not None
    assert found[FilmClass.COVID19].infection is not None
    assert all(sample.lung_convention is LungConvention.LUNG_FIELD for sample in found.values())
    (note,) = load_dataset(listed).notes
    assert "nobody annotated infection on the 1 Non-COVID film" in note


def test_a_split_leaves_the_other_out(listed: Path) -> None:
    assert set(by_class(read_dataset(listed, Split.TEST))) == {FilmClass.NORMAL}


def test_a_film_listed_without_its_mask_names_both(listed: Path) -> None:
    missing = listed / "Infection Segmentation Data" / "Train" / "Normal" / "lung masks" / "a.png"
    missing.unlink()
    with pytest.raises(UsageError, match=r"lists film a\.png.*Normal/lung masks/a\.png is not there"):
        read_dataset(listed)


def test_published_parts_are_read_by_their_own_folders(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    found = load_dataset(tmp_path)
    split = {sample.image.name: sample.split for sample in found.samples}
    assert split["covid_1.png"] is split["covid_21.png"] is Split.TRAIN
    assert split["covid_2.png"] is Split.TEST
    assert all(sample.infection is None for sample in found.samples if "Lung Segmentation Data" in sample.image.parts)
    assert any("drawn film by film" in note for note in found.notes)
    assert any("lung masks alone" in note for note in found.notes)


def test_a_film_in_both_parts_is_taken_once_with_its_infection(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    (found,) = [sample for sample in read_dataset(tmp_path) if sample.image.name == "covid_2.png"]
    assert "Infection Segmentation Data" in found.image.parts
    assert found.infection is not None


@pytest.mark.parametrize("part", ["Infection Segmentation Data", "Lung Segmentation Data"])
def test_a_part_is_a_data_set_of_its_own(tmp_path: Path, part: str) -> None:
    write_covid_qu_ex(tmp_path)
    films = read_dataset(tmp_path / part)
    assert films
    with_infection = {sample.film_class for sample in films if sample.infection is not None}
    assert with_infection == ({FilmClass.COVID19, FilmClass.NORMAL} if part.startswith("Infection") else set())


def test_runs_of_twenty_numbers_are_a_group_and_a_subject_is_one(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    groups = {sample.image.name: sample.group for sample in read_dataset(tmp_path)}
    assert groups["covid_1.png"] != groups["covid_21.png"]
    assert groups["covid_21.png"] == groups["covid_22.png"]
    assert groups["sub-S07_run-1.png"] == "covid-qu-ex/sub-S07"


def test_a_subject_with_test_films_is_not_trained_on(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    base = tmp_path / "Lung Segmentation Data" / "Train" / "COVID-19"
    write_film(base / "images" / "sub-S07_run-9.png", seed=1)
    write_mask(base / "lung masks" / "sub-S07_run-9.png", seed=1)
    found = load_dataset(tmp_path)
    (subject,) = [sample for sample in found.samples if "sub-S07" in sample.group]
    assert subject.split is Split.TEST
    assert any("1 training film left out" in note for note in found.notes)


def test_a_spare_mask_names_itself(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    spare = tmp_path / "Lung Segmentation Data" / "Test" / "Normal" / "lung masks" / "Normal (99).png"
    write_flat_png(spare)
    with pytest.raises(UsageError, match=r"mask .*Normal \(99\)\.png is there, but no film of its name"):
        read_dataset(tmp_path)


def test_a_film_without_its_mask_in_a_folder_layout_names_both(tmp_path: Path) -> None:
    write_covid_qu_ex(tmp_path)
    base = tmp_path / "Infection Segmentation Data" / "Test" / "COVID-19"
    (base / "infection masks" / "covid_2.png").unlink()
    with pytest.raises(UsageError, match=r"film .*images/covid_2\.png is there.*infection masks/covid_2\.png is not"):
        read_dataset(tmp_path)


def test_a_folder_of_no_known_layout_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Infection Segmentation Data.*index\.csv.*LabelMe"):
        read_dataset(tmp_path)


def test_help_names_every_layout() -> None:
    assert [layout.name for layout in LAYOUTS if layout.name not in EPILOG] == []


def test_a_mask_shrinks_by_majority(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:, :5] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert read_mask(tmp_path / "m.png").sum() == 40
    assert read_mask(tmp_path / "m.png", 4, 4).tolist() == [[True, True, False, False]] * 4


def test_two_files_are_one_mask(tmp_path: Path) -> None:
    for name, columns in (("l", slice(0, 2)), ("r", slice(6, 8))):
        mask = np.zeros((8, 8), dtype=np.uint8)
        mask[:, columns] = 255
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    assert read_mask(MaskUnion((tmp_path / "l.png", tmp_path / "r.png"))).sum() == 32
    write_flat_png(tmp_path / "r.png", side=9)
    with pytest.raises(UsageError, match="one size"):
        read_mask(MaskUnion((tmp_path / "l.png", tmp_path / "r.png")))


def test_a_mask_of_zeros_and_ones_is_not_read_as_empty(tmp_path: Path) -> None:
    write_flat_png(tmp_path / "m.png", 1)
    with pytest.raises(UsageError, match="0 and 255"):
        read_mask(tmp_path / "m.png")


@needs_real_films
@pytest.mark.parametrize("folder", ["covid-qu-ex", "lung_seg", "infection_seg", "classes", "severity"])
def test_groups_of_real_films_do_not_straddle_the_splits(folder: str) -> None:
    groups = {split: {s.group for s in read_dataset(REAL / folder, split)} for split in Split}
    assert groups[Split.TRAIN]
    assert groups[Split.TEST]
    assert not groups[Split.TRAIN] & groups[Split.TEST]


@needs_real_films
def test_the_real_covid_qu_ex_is_read_by_its_folders_too() -> None:
    by_folders = read_dataset(REAL / "covid-qu-ex" / "Infection Segmentation Data")
    assert {sample.image for sample in by_folders} == {sample.image for sample in read_dataset(REAL / "covid-qu-ex")}
