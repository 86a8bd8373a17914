"""Read a CSV file with one row per film: ``index.csv`` in a folder, or any CSV file.

Paths in it are relative to its own folder. Only the column `image` is required. All others, with alternative names:

================== =================================================================================================
column             meaning
================== =================================================================================================
lung_mask          Mask of both lungs; also `mask`.
left_lung_mask     Mask of the patient's left lung; also `left_mask`. Without `lung_mask`, the lung is the union of this
                   and `right_lung_mask` (`right_mask`).
infection_mask     Mask of the infection. Empty means not annotated; a film without infection needs a black mask.
lung_convention    ``lung_field`` (without the heart; the default) or ``with_heart``. Alternative: `mask_convention`, a
                   text that contains ``without heart`` or not.
label              Class: covid, pneumonia or normal; also `class_label`. Other labels belong to none of the classes.
group              Patient, or the smallest set of films known to hold one; also `patient`. Default: one group per film.
split              train or test (val counts as train). Default: a fifth of the groups, by a digest of their names, is
                   for testing.
pct_infected       Percent of the lung that is infected, as given by the data set; also `percent_infected`.
geographic_extent  Radiologists' extent score, 0 to 8; also `geographic_extent_0_8`.
id                 The text before its first underscore names the source within the data set.
================== =================================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cxrlib.datasets.class_labels import class_from_label
from cxrlib.datasets.folders import LabelledDataset, count_text
from cxrlib.datasets.sample import LungConvention, Mask, MaskUnion, Sample, Split
from cxrlib.datasets.splits import split_of
from cxrlib.errors import UsageError

LAYOUT: Final = "CSV"
INDEX_FILE: Final = "index.csv"
_SPLITS: Final = {
    "train": Split.TRAIN,
    "val": Split.TRAIN,
    "valid": Split.TRAIN,
    "validation": Split.TRAIN,
    "test": Split.TEST,
}
_Row = Mapping[Hashable, Any]


def recognises(path: Path) -> bool:
    """Return whether a path is a CSV file, or a folder with an ``index.csv``."""
    return path.suffix.lower() == ".csv" if path.is_file() else (path / INDEX_FILE).is_file()


def read(path: Path) -> LabelledDataset:
    """Read a CSV file of films.

    Raises
    ------
    UsageError
        The column `image` is missing, a value of `split` or `lung_convention` is not one of those above, or a number is
        not a number.
    """
    index_file = path if path.is_file() else path / INDEX_FILE
    name = index_file.stem if path.is_file() else path.name
    index = pd.read_csv(index_file)
    if "image" not in index.columns:
        raise UsageError(f"{index_file}: expected a column image; got {', '.join(map(str, index.columns))}")
    samples = tuple(_sample(row, index_file, name) for row in index.to_dict("records"))
    return LabelledDataset(LAYOUT, samples, tuple(f"{name}: {note}" for note in _notes(index, samples)))


def _notes(index: pd.DataFrame, samples: tuple[Sample, ...]) -> list[str]:
    notes = []
    columns = set(index.columns)
    if not columns & {"group", "patient"}:
        notes.append("no column group: each film counts as a separate patient")
    if any(sample.lung for sample in samples) and not columns & {"lung_convention", "mask_convention"}:
        notes.append("no column lung_convention: lung masks are assumed to be without the heart")
    column = next((column for column in ("class_label", "label") if column in columns), None)
    if column is not None:
        labels = Counter(str(label) for label in index[column].dropna() if class_from_label(str(label)) is None)
        notes += [
            f"label {label!r} is none of the classes; its {count_text(number, 'film')} are in no class figure"
            for label, number in sorted(labels.items())
        ]
    return notes


def _sample(row: _Row, index_file: Path, name: str) -> Sample:
    root = index_file.parent
    left, right = (_path(root, row, f"{side}_lung_mask", f"{side}_mask") for side in ("left", "right"))
    lung: Mask | None = _path(root, row, "lung_mask", "mask")
    if lung is None and left is not None and right is not None:
        lung = MaskUnion((left, right))
    film_class = _text(row, "class_label", "label")
    group = _text(row, "group", "patient") or str(row["image"])
    split = _text(row, "split")
    if split is not None and split.lower() not in _SPLITS:
        raise UsageError(f"{index_file}: expected split {', '.join(_SPLITS)} of film {row['image']}; got {split!r}")
    return Sample(
        image=root / str(row["image"]),
        source=_source(name, str(row.get("id", ""))),
        group=group,
        split=split_of(group) if split is None else _SPLITS[split.lower()],
        film_class=None if film_class is None else class_from_label(film_class),
        lung=lung,
        lung_left=left,
        lung_right=right,
        lung_convention=None if lung is None else _convention(row, index_file),
        infection=_path(root, row, "infection_mask"),
        percent_infected=_number(row, "pct_infected", "percent_infected"),
        geographic_extent=_number(row, "geographic_extent_0_8", "geographic_extent"),
    )


def _convention(row: _Row, index_file: Path) -> LungConvention:
    stated = _text(row, "lung_convention")
    if stated is not None:
        try:
            return LungConvention(stated.lower())
        except ValueError as error:
            known = ", ".join(LungConvention)
            raise UsageError(
                f"{index_file}: expected lung_convention {known} of film {row['image']}; got {stated!r}"
            ) from error
    described = _text(row, "mask_convention")
    leaves_heart_out = described is None or "without heart" in described
    return LungConvention.LUNG_FIELD if leaves_heart_out else LungConvention.WITH_HEART


def _text(row: _Row, *columns: str) -> str | None:
    """Return the value of the first of `columns` that is not empty."""
    for column in columns:
        value = row.get(column)
        if value is not None and not pd.isna(value) and str(value).strip():
            return str(value).strip()
    return None


def _path(root: Path, row: _Row, *columns: str) -> Path | None:
    named = _text(row, *columns)
    return None if named is None else root / named


def _number(row: _Row, *columns: str) -> float | None:
    value = _text(row, *columns)
    try:
        return None if value is None else float(value)
    except ValueError as error:
        raise UsageError(f"expected a number as {columns[0]} of film {row['image']}; got {value!r}") from error


def _source(name: str, film_id: str) -> str:
    prefix, separator, _ = film_id.partition("_")
    return f"{name}/{prefix}" if separator else name
