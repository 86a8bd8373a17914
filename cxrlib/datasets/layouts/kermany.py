"""Read Kermany's chest X-rays of children: ``train``, ``val``, ``test`` of ``NORMAL`` and ``PNEUMONIA``, no masks.

The file name holds the patient: ``person12_bacteria_3`` and ``person12_virus_4`` belong to person12, ``IM-0115-0001``
to IM-0115. ``train`` and ``val`` are for training (`val` has 16 films). Training films of a patient with test films are
left out, so the published test split is unchanged and no patient is in both splits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cxr_schemas import FilmClass
from cxrlib.datasets.folders import LabelledDataset, count_text, innermost_folder, list_films
from cxrlib.datasets.sample import Sample, Split
from cxrlib.datasets.splits import drop_leaking_films

LAYOUT: Final = "Kermany chest_xray"
SOURCE: Final = "kermany"
_FOLDER: Final = "chest_xray"
_SPLITS: Final = {"train": Split.TRAIN, "val": Split.TRAIN, "test": Split.TEST}
_CLASSES: Final = {"NORMAL": FilmClass.NORMAL, "PNEUMONIA": FilmClass.PNEUMONIA}
_PATIENT: Final = re.compile(r"(person\d+)_|((?:NORMAL2-)?IM-\d+)")


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return bool(_class_folders(innermost_folder(root, _FOLDER)))


def read(root: Path) -> LabelledDataset:
    """Read all splits that are present."""
    samples, left_out = drop_leaking_films(list(_samples(innermost_folder(root, _FOLDER))))
    notes = [f"{SOURCE}: the films have a class but no masks"]
    if left_out:
        films = count_text(left_out, "training film")
        notes.append(f"{SOURCE}: {films} left out because their patient has test films")
    return LabelledDataset(LAYOUT, tuple(samples), tuple(notes))


def patient_from_name(stem: str) -> str:
    """Return the patient in a file name of this data set; the whole name if it has none."""
    found = _PATIENT.match(stem)
    return (found.group(1) or found.group(2)) if found else stem


def _class_folders(root: Path) -> list[tuple[Split, FilmClass, Path]]:
    return [
        (split, film_class, root / split_name / class_name)
        for split_name, split in _SPLITS.items()
        for class_name, film_class in _CLASSES.items()
        if (root / split_name / class_name).is_dir()
    ]


def _samples(root: Path) -> Iterator[Sample]:
    for split, film_class, folder in _class_folders(root):
        for image in list_films(folder):
            group = f"{SOURCE}/{patient_from_name(image.stem)}"
            yield Sample(image=image, source=SOURCE, group=group, split=split, film_class=film_class)
