"""Data set readers: labels that nobody drew are not taken for negatives, and missing files are named."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxrlib.datasets import LungConvention, Sample, Split, read_dataset
from cxrlib.datasets.sample import read_mask
from cxrlib.errors import UsageError
from schemas import FilmClass

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "data"
needs_real_films = pytest.mark.skipif(not REAL.is_dir(), reason="the real films (../shared/data) are not here")


def png(path: Path, value: int = 255) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8), value, dtype=np.uint8))


@pytest.fixture
def covid_qu_ex(tmp_path: Path) -> Path:
    lines = ["path,part,class_folder,patient_id,group,split"]
    for folder, split in (("COVID-19", "train"), ("Non-COVID", "train"), ("Normal", "test")):
        base = tmp_path / "Infection Segmentation Data" / "Train" / folder
        for kind in ("images", "lung masks", "infection masks"):
            png(base / kind / "a.png")
        lines.append(f"Infection Segmentation Data/Train/{folder}/images/a.png,Train,{folder},p,g_{folder},{split}")
    (tmp_path / "splits.csv").write_text("\n".join(lines))
    return tmp_path


def by_class(samples: list[Sample]) -> dict[FilmClass | None, Sample]:
    return {sample.film_class: sample for sample in samples}


def test_infection_that_nobody_drew_is_not_a_negative(covid_qu_ex: Path) -> None:
    found = by_class(read_dataset(covid_qu_ex))
    assert found[FilmClass.PNEUMONIA].infection is None
    assert found[FilmClass.NORMAL].infection is not None
    assert found[FilmClass.COVID19].infection is not None
    assert all(sample.lung_convention is LungConvention.LUNG_FIELD for sample in found.values())


def test_a_split_leaves_the_other_out(covid_qu_ex: Path) -> None:
    assert set(by_class(read_dataset(covid_qu_ex, Split.TEST))) == {FilmClass.NORMAL}


def test_a_film_listed_without_its_mask_names_both(covid_qu_ex: Path) -> None:
    missing = covid_qu_ex / "Infection Segmentation Data" / "Train" / "Normal" / "lung masks" / "a.png"
    missing.unlink()
    with pytest.raises(UsageError, match=r"lists film a\.png.*Normal/lung masks/a\.png is not there"):
        read_dataset(covid_qu_ex)


def test_an_index_tells_the_lung_convention(tmp_path: Path) -> None:
    png(tmp_path / "i.png")
    png(tmp_path / "m.png")
    (tmp_path / "index.csv").write_text(
        "id,image,mask,mask_convention,class_label,group,split,geographic_extent_0_8\n"
        "jsrt_1,i.png,m.png,lung field without heart,normal,a,train,\n"
        "v7_1,i.png,m.png,lung outline with heart,covid,b,test,6.5\n"
        "v7_2,i.png,,,nodule,c,test,\n"
    )
    field, heart, bare = sorted(read_dataset(tmp_path), key=lambda sample: sample.group)
    assert field.lung_convention is LungConvention.LUNG_FIELD
    assert heart.lung_convention is LungConvention.WITH_HEART
    assert heart.geographic_extent == 6.5
    assert bare.lung is None
    assert bare.lung_convention is None
    assert bare.film_class is None
    assert field.source == f"{tmp_path.name}/jsrt"


def test_a_folder_of_no_known_layout_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"splits\.csv, index\.csv"):
        read_dataset(tmp_path)


def test_a_mask_shrinks_by_majority(tmp_path: Path) -> None:
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:, :5] = 255
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    assert read_mask(tmp_path / "m.png").sum() == 40
    assert read_mask(tmp_path / "m.png", 4, 4).tolist() == [[True, True, False, False]] * 4


@needs_real_films
@pytest.mark.parametrize("folder", ["covid-qu-ex", "lung_seg", "infection_seg", "classes", "severity"])
def test_groups_of_real_films_do_not_straddle_the_splits(folder: str) -> None:
    groups = {split: {s.group for s in read_dataset(REAL / folder, split)} for split in Split}
    assert groups[Split.TRAIN]
    assert groups[Split.TEST]
    assert not groups[Split.TRAIN] & groups[Split.TEST]
