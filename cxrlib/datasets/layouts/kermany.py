"""Kermany's chest X-rays of children: ``train``, ``val`` and ``test`` of ``NORMAL`` and ``PNEUMONIA``, without masks.

The patient is in the file name: ``person12_bacteria_3`` and ``person12_virus_4`` are of person12, ``IM-0115-0001`` of
IM-0115. ``train`` and ``val`` are for training (`val` has 16 films). A person whose number stands in ``test`` too loses
its training films: the published test split stays as it is, and nobody stands on both sides.
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
    """Tell whether a folder is laid out so."""
    return bool(_class_folders(innermost_folder(root, _FOLDER)))


def read(root: Path) -> LabelledDataset:
    """Read all splits that are there."""
    samples, left_out = drop_leaking_films(list(_samples(innermost_folder(root, _FOLDER))))
    notes = [f"{SOURCE}: the films have a class and no masks"]
    if left_out:
        notes.append(f"{SOURCE}: {count_text(left_out, 'training film')} left out, since their patient has test films")
    return LabelledDataset(LAYOUT, tuple(samples), tuple(notes))


def patient_from_name(stem: str) -> str:
    """Return the patient that a file name of this data set tells; the name itself where it tells none."""
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
