"""Layouts other than COVID-QU-Ex, each written from phantoms: labels, masks, patients and splits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cxr_schemas import FilmClass
from cxrlib.datasets import LungConvention, Sample, Split, load_dataset, read_dataset, read_mask
from cxrlib.errors import UsageError
from cxrlib.phantom.archive import write_archive
from tests.support.labelled_films import SIDE, phantom, write_film, write_flat_png, write_mask, write_pairs


def by_name(path: Path) -> dict[str, Sample]:
    return {sample.image.stem: sample for sample in read_dataset(path)}


@pytest.fixture
def radiography(tmp_path: Path) -> Path:
    base = tmp_path / "COVID-19_Radiography_Dataset"
    for name in ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia"):
        write_pairs(base / name, [f"{name}-{number}.png" for number in (1, 2, 300)], {"masks": "lung"})
    (base / "COVID.metadata.xlsx").write_bytes(b"")
    return tmp_path


def test_radiography_has_classes_and_lungs_but_no_infection(radiography: Path) -> None:
    films = by_name(radiography)
    assert films["COVID-1"].film_class is FilmClass.COVID19
    assert films["Lung_Opacity-1"].film_class is films["Viral Pneumonia-1"].film_class is FilmClass.PNEUMONIA
    assert all(sample.infection is None for sample in films.values())
    assert films["Normal-2"].lung_convention is LungConvention.LUNG_FIELD
    assert any("infection was not annotated" in note for note in load_dataset(radiography).notes)


def test_radiography_groups_consecutive_file_numbers(radiography: Path) -> None:
    films = by_name(radiography)
    assert films["COVID-1"].group == films["COVID-2"].group != films["COVID-300"].group
    assert films["COVID-1"].split is films["COVID-2"].split
    assert by_name(radiography / "COVID-19_Radiography_Dataset").keys() == films.keys()


def test_radiography_error_names_a_film_and_its_missing_mask(radiography: Path) -> None:
    (radiography / "COVID-19_Radiography_Dataset" / "Normal" / "masks" / "Normal-2.png").unlink()
    with pytest.raises(UsageError, match=r"expected a mask .*masks/Normal-2\.png for film .*images/Normal-2\.png"):
        read_dataset(radiography)


@pytest.fixture
def kermany(tmp_path: Path) -> Path:
    films = {
        "train/PNEUMONIA": ["person1_bacteria_1", "person2_virus_3", "person2_bacteria_4", "person9_virus_1"],
        "train/NORMAL": ["IM-0115-0001"],
        "val/NORMAL": ["NORMAL2-IM-1427-0001"],
        "test/PNEUMONIA": ["person1_virus_6"],
        "test/NORMAL": ["IM-0001-0001"],
    }
    for folder, names in films.items():
        for seed, name in enumerate(names):
            write_film(tmp_path / "chest_xray" / "chest_xray" / folder / f"{name}.jpeg", seed)
    return tmp_path


def test_kermany_reads_the_patient_from_the_file_name(kermany: Path) -> None:
    films = by_name(kermany)
    assert films["person2_virus_3"].group == films["person2_bacteria_4"].group == "kermany/person2"
    assert films["IM-0115-0001"].group == "kermany/IM-0115"
    assert films["NORMAL2-IM-1427-0001"].group == "kermany/NORMAL2-IM-1427"
    assert films["NORMAL2-IM-1427-0001"].split is Split.TRAIN
    assert films["IM-0001-0001"].film_class is FilmClass.NORMAL
    assert films["person9_virus_1"].film_class is FilmClass.PNEUMONIA


def test_kermany_drops_training_films_of_test_patients(kermany: Path) -> None:
    films = by_name(kermany)
    assert "person1_bacteria_1" not in films
    assert films["person1_virus_6"].split is Split.TEST
    assert any("1 training film left out" in note for note in load_dataset(kermany).notes)


def test_montgomery_lung_mask_is_the_union_of_two_files(tmp_path: Path) -> None:
    base = tmp_path / "MontgomerySet"
    masks = {"ManualMask/leftMask": "left", "ManualMask/rightMask": "right"}
    write_pairs(base, ["MCUCXR_0001_0.png", "MCUCXR_0104_1.png"], masks, images="CXR_png")
    films = by_name(tmp_path)
    normal, tuberculosis = films["MCUCXR_0001_0"], films["MCUCXR_0104_1"]
    assert (normal.film_class, tuberculosis.film_class) == (FilmClass.NORMAL, None)
    assert normal.source == "montgomery"
    assert normal.lung is not None
    assert normal.lung_left is not None
    np.testing.assert_array_equal(read_mask(normal.lung), phantom(0).lung)
    np.testing.assert_array_equal(read_mask(normal.lung_left), phantom(0).left)
    (base / "ManualMask" / "rightMask" / "MCUCXR_0001_0.png").unlink()
    with pytest.raises(UsageError, match=r"rightMask/MCUCXR_0001_0\.png for film .*CXR_png/MCUCXR_0001_0\.png"):
        read_dataset(tmp_path)


def test_shenzhen_film_without_a_mask_is_used_for_its_class_only(tmp_path: Path) -> None:
    for seed, name in enumerate(("CHNCXR_0001_0", "CHNCXR_0327_1")):
        write_film(tmp_path / "CXR_png" / f"{name}.png", seed)
    write_mask(tmp_path / "mask" / "mask" / "CHNCXR_0001_0_mask.png", 0)
    films = by_name(tmp_path)
    assert films["CHNCXR_0001_0"].lung is not None
    assert films["CHNCXR_0327_1"].lung is films["CHNCXR_0327_1"].lung_convention is None
    assert any("1 film without a lung mask" in note for note in load_dataset(tmp_path).notes)
    write_mask(tmp_path / "mask" / "mask" / "CHNCXR_0500_0_mask.png", 0)
    with pytest.raises(UsageError, match=r"expected a film CHNCXR_0500_0 in .*CHNCXR_0500_0_mask\.png; got none"):
        read_dataset(tmp_path)


def shape(label: str, *corners: tuple[float, float], kind: str = "polygon") -> dict[str, object]:
    return {"label": label, "points": [list(corner) for corner in corners], "shape_type": kind}


def write_labelme(folder: Path, stem: str, shapes: list[dict[str, object]], flags: dict[str, bool]) -> Path:
    write_film(folder / f"{stem}.png", seed=1)
    path = folder / f"{stem}.json"
    size = {"imageHeight": SIDE, "imageWidth": SIDE}
    path.write_text(json.dumps({"imagePath": f"{stem}.png", "shapes": shapes, "flags": flags, **size}))
    return path


@pytest.fixture
def labelme(tmp_path: Path) -> Path:
    left = shape("Left Lung", (40, 10), (60, 10), (60, 50), (40, 50))
    right = shape("right", (4, 10), (24, 10), (24, 50), (4, 50))
    infection = shape("consolidation", (4, 30), (24, 50), kind="rectangle")
    write_labelme(tmp_path, "person3_virus_1", [left, right, infection], {"covid": True, "normal": False})
    write_labelme(tmp_path, "person3_virus_2", [left, right, shape("heart", (1, 1), (5, 1), (5, 5))], {})
    write_labelme(tmp_path, "clear", [shape("lungs", (4, 10), (60, 10), (60, 50), (4, 50))], {"normal": True})
    return tmp_path


def test_labelme_polygons_become_masks(labelme: Path) -> None:
    film = by_name(labelme)["person3_virus_1"]
    assert film.film_class is FilmClass.COVID19
    assert film.lung is not None
    assert film.lung_left is not None
    assert film.infection is not None
    left, right = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    left[10:50, 40:60] = True
    right[10:50, 4:24] = True
    assert np.count_nonzero(read_mask(film.lung) ^ (left | right)) <= 2 * 4 * 60  # the outlines alone may differ
    assert read_mask(film.lung)[30, 12]
    assert not read_mask(film.lung_left)[30, 12]
    infection = read_mask(film.infection)
    assert infection.sum() == pytest.approx(20 * 20, rel=0.12)
    assert infection[40, 12]


def test_labelme_film_without_infection_polygon_is_negative_only_with_the_flag_normal(labelme: Path) -> None:
    films = by_name(labelme)
    assert films["person3_virus_2"].infection is None
    clear = films["clear"].infection
    assert clear is not None
    assert not read_mask(clear).any()
    notes = load_dataset(labelme).notes
    assert any("ignored 1 shape with the unknown label 'heart'" in note for note in notes)
    assert any("1 film without an infection polygon" in note for note in notes)


def test_labelme_films_of_one_patient_are_one_group(labelme: Path) -> None:
    films = by_name(labelme)
    assert films["person3_virus_1"].group == films["person3_virus_2"].group != films["clear"].group


def test_labelme_shape_without_an_area_is_refused(tmp_path: Path) -> None:
    path = write_labelme(tmp_path, "a", [shape("lung", (1, 1), (9, 9), kind="line")], {})
    with pytest.raises(UsageError, match=rf"{path.name}: .*got a line of 2 points labelled 'lung'"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("end", [(4, 10), (4.6, 10.7)], ids=["on the first point", "within a pixel"])
def test_labelme_closed_linestrip_is_a_polygon(tmp_path: Path, end: tuple[float, float]) -> None:
    corners = ((4, 10), (24, 10), (24, 50), (4, 50))
    write_labelme(tmp_path, "strip", [shape("infection", *corners, end, kind="linestrip")], {})
    write_labelme(tmp_path, "polygon", [shape("infection", *corners)], {})
    films = by_name(tmp_path)
    strip, polygon = films["strip"].infection, films["polygon"].infection
    assert strip is not None
    assert polygon is not None
    assert np.array_equal(read_mask(strip), read_mask(polygon))


@pytest.mark.parametrize(
    "corners", [((4, 10), (24, 10), (24, 50), (5.1, 10)), ((4, 10), (24, 10), (4, 10))], ids=["open", "without area"]
)
def test_labelme_open_linestrip_is_refused(tmp_path: Path, corners: tuple[tuple[float, float], ...]) -> None:
    write_labelme(tmp_path, "strip", [shape("infection", *corners, kind="linestrip")], {})
    with pytest.raises(UsageError, match=r"closed linestrip.*got a linestrip of [34] points labelled 'infection'"):
        read_dataset(tmp_path)


def test_labelme_error_names_a_film_and_its_missing_image(labelme: Path) -> None:
    (labelme / "clear.png").unlink()
    with pytest.raises(UsageError, match=r"lists film clear\.png: expected its file .*/clear\.png; got none"):
        read_dataset(labelme)


def test_csv_needs_only_the_image_column(tmp_path: Path) -> None:
    names = [f"f{number}.png" for number in range(40)]
    for name in names:
        write_flat_png(tmp_path / name)
    table = tmp_path / "films.csv"
    table.write_text("\n".join(["image,label", *(f"{name},{'covid' if name < 'f2' else 'TB'}" for name in names)]))
    found = load_dataset(table)
    assert {sample.split for sample in found.samples} == set(Split)
    assert len({sample.group for sample in found.samples}) == 40
    assert any("'TB' is none of the classes" in note for note in found.notes)
    assert any("no column group" in note for note in found.notes)


def test_csv_joins_the_masks_of_the_two_lungs(tmp_path: Path) -> None:
    write_pairs(tmp_path, ["a.png"], {"l": "left", "r": "right", "i": "infection"})
    (tmp_path / "index.csv").write_text(
        "image,left_mask,right_mask,infection_mask,label,patient,split,lung_convention\n"
        "images/a.png,l/a.png,r/a.png,i/a.png,Viral Pneumonia,p,val,lung_field\n"
    )
    (film,) = read_dataset(tmp_path)
    assert film.lung is not None
    assert film.infection is not None
    np.testing.assert_array_equal(read_mask(film.lung), phantom(0).lung)
    assert (film.split, film.film_class, film.group) == (Split.TRAIN, FilmClass.PNEUMONIA, "p")


def test_csv_mask_convention_sets_the_lung_convention(tmp_path: Path) -> None:
    write_flat_png(tmp_path / "i.png")
    write_flat_png(tmp_path / "m.png")
    (tmp_path / "index.csv").write_text(
        "id,image,mask,mask_convention,class_label,group,split,geographic_extent_0_8\n"
        "jsrt_1,i.png,m.png,lung field without heart,normal,a,train,\n"
        "v7_1,i.png,m.png,lung outline with heart,covid,b,test,6.5\n"
        "v7_2,i.png,,,nodule,c,test,\n"
    )
    field, heart, without_mask = sorted(read_dataset(tmp_path), key=lambda sample: sample.group)
    assert field.lung_convention is LungConvention.LUNG_FIELD
    assert heart.lung_convention is LungConvention.WITH_HEART
    assert heart.geographic_extent == 6.5
    assert without_mask.lung is None
    assert without_mask.lung_convention is None
    assert without_mask.film_class is None
    assert field.source == f"{tmp_path.name}/jsrt"


@pytest.mark.parametrize(
    ("column", "value"), [("split", "holdout"), ("lung_convention", "heart"), ("percent_infected", "much")]
)
def test_unknown_csv_value_is_named_in_the_error(tmp_path: Path, column: str, value: str) -> None:
    write_flat_png(tmp_path / "i.png")
    (tmp_path / "index.csv").write_text(f"image,mask,{column}\ni.png,i.png,{value}\n")
    with pytest.raises(UsageError, match=rf"expected .* of film i\.png; got '{value}'"):
        read_dataset(tmp_path)


def test_csv_group_in_both_splits_is_refused(tmp_path: Path) -> None:
    write_flat_png(tmp_path / "i.png")
    (tmp_path / "index.csv").write_text("image,group,split\ni.png,p7,train\ni.png,p7,test\n")
    with pytest.raises(UsageError, match="films of group p7 in both"):
        read_dataset(tmp_path)


def test_phantoms_are_test_films_with_exact_labels(tmp_path: Path) -> None:
    write_archive(str(tmp_path), 3, rows=128, masks=True, bad=1, workers=1)
    films = read_dataset(tmp_path, Split.TEST)
    assert len(films) == 3
    for film in films:
        assert film.lung is not None
        assert film.infection is not None
        lung, infection = read_mask(film.lung), read_mask(film.infection)
        assert film.percent_infected == pytest.approx(100 * (infection & lung).sum() / lung.sum(), abs=1)
