"""Read COVID-QU-Ex (qu-ex section 2): lung masks on all films, infection masks on some.

It is published in two parts: ``Infection Segmentation Data`` (both masks) and ``Lung Segmentation Data`` (lung masks
only). Each part has ``Train``, ``Val`` and ``Test`` with the class folders ``COVID-19``, ``Non-COVID`` and ``Normal``.

Splits: a ``splits.csv`` (columns `path`, `class_folder`, `group`, `split`) beside the parts is used if present.
Otherwise the folders decide: ``Train`` and ``Val`` are for training, ``Test`` is for testing. The publishers split by
film, not by patient.

Groups without ``splits.csv``: a file named by its subject (``sub-S01234_...``) belongs to that subject. Training films
of a subject with test films are left out. All other names are running numbers without a patient; twenty consecutive
numbers of one class and folder form a group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pandas as pd

from cxr_schemas import FilmClass
from cxrlib.datasets.folders import LabelledDataset, count_text, innermost_folder, list_films, require_matching_names
from cxrlib.datasets.sample import LungConvention, Sample, Split
from cxrlib.datasets.splits import block_name, drop_leaking_films
from cxrlib.errors import UsageError

LAYOUT: Final = "COVID-QU-Ex"
SOURCE: Final = "covid-qu-ex"
SPLITS_FILE: Final = "splits.csv"
INFECTION_PART: Final = "Infection Segmentation Data"
LUNG_PART: Final = "Lung Segmentation Data"

_SPLITS: Final = {"Train": Split.TRAIN, "Val": Split.TRAIN, "Test": Split.TEST}
_CLASSES: Final = {
    "COVID-19": FilmClass.COVID19,
    "Non-COVID": FilmClass.PNEUMONIA,
    "Normal": FilmClass.NORMAL,
}
_IMAGES: Final = "images"
_LUNG: Final = "lung masks"
_INFECTION: Final = "infection masks"
_SUBJECT: Final = re.compile(r"sub-S\d+")
_LAST_NUMBER: Final = re.compile(r"(\d+)\D*$")


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout: it holds ``splits.csv`` or a part, or is itself a part."""
    return (root / SPLITS_FILE).is_file() or bool(_parts(root))


def read(root: Path) -> LabelledDataset:
    """Read both parts, or the one that is present.

    Raises
    ------
    UsageError
        A film has no mask, or a mask has no film.
    """
    notes = []
    if (root / SPLITS_FILE).is_file():
        samples = list(_listed(root))
    else:
        samples, left_out = drop_leaking_films(list(_both_parts(_parts(root))))
        notes.append(
            f"{SOURCE}: there is no {SPLITS_FILE}, so the split of the folders is used; it was drawn by film, so films "
            "of one patient may be in both splits"
        )
        if left_out:
            films = count_text(left_out, "training film")
            notes.append(f"{SOURCE}: {films} left out because their subject has test films")
    notes += _unannotated(samples)
    return LabelledDataset(LAYOUT, tuple(samples), tuple(notes))


def _unannotated(samples: list[Sample]) -> Iterator[str]:
    """Yield notes on the films without infection labels."""
    other = sum(sample.film_class is FilmClass.PNEUMONIA for sample in samples)
    lung_only = sum(sample.film_class is not FilmClass.PNEUMONIA and sample.infection is None for sample in samples)
    if other:
        yield (
            f"{SOURCE}: infection was not annotated on the {count_text(other, 'Non-COVID film')}, so their masks are "
            "empty; they are not used as films without infection"
        )
    if lung_only:
        yield f"{SOURCE}: {count_text(lung_only, 'film')} of {LUNG_PART!r} with lung masks only"


def _listed(root: Path) -> Iterator[Sample]:
    for row in pd.read_csv(root / SPLITS_FILE).itertuples():
        image = root / str(row.path)
        yield _sample(
            image,
            _CLASSES[str(row.class_folder)],
            group=str(row.group),
            split=Split(str(row.split)),
            has_infection=LUNG_PART not in image.parts,
        )


def _parts(root: Path) -> dict[str, Path]:
    """Return, for each part, the folder that holds ``Train``, ``Val`` and ``Test``."""
    found = {}
    for part in (INFECTION_PART, LUNG_PART):
        if (root / part).is_dir():
            found[part] = innermost_folder(root, part)
    if not found and (folders := _class_folders(root)):
        has_infection = any((folder / _INFECTION).is_dir() for _, _, folder in folders)
        found[INFECTION_PART if has_infection else LUNG_PART] = root
    return found


def _class_folders(part: Path) -> list[tuple[str, str, Path]]:
    """Return split folder, class folder and path of each class folder of a part."""
    return [
        (split, film_class, part / split / film_class)
        for split in _SPLITS
        for film_class in _CLASSES
        if (part / split / film_class / _IMAGES).is_dir()
    ]


def _both_parts(parts: dict[str, Path]) -> Iterator[Sample]:
    """Yield the films of both parts. A film in both is read once, from the infection part."""
    seen: set[tuple[str, str]] = set()
    for part, root in parts.items():
        folders = _class_folders(root)
        if not folders:
            raise UsageError(f"expected {', '.join(_SPLITS)} with {', '.join(_CLASSES)} in {root}; got none of them")
        for split, film_class, folder in folders:
            images = list_films(folder / _IMAGES)
            has_infection = part == INFECTION_PART
            require_matching_names(images, *(folder / name for name in (_LUNG, _INFECTION)[: 1 + has_infection]))
            for image in images:
                if (film_class, image.name) not in seen:
                    seen.add((film_class, image.name))
                    group = _group(image.stem, film_class, split)
                    yield _sample(image, _CLASSES[film_class], group, _SPLITS[split], has_infection)


def _group(stem: str, film_class: str, split: str) -> str:
    if subject := _SUBJECT.search(stem):
        return f"{SOURCE}/{subject.group()}"
    number = _LAST_NUMBER.search(stem)
    return f"{SOURCE}/{split}/{film_class}/{block_name(int(number.group(1))) if number else stem}"


def _sample(image: Path, film_class: FilmClass, group: str, split: Split, has_infection: bool) -> Sample:
    masks = image.parent.parent
    annotated = has_infection and film_class is not FilmClass.PNEUMONIA
    return Sample(
        image=image,
        source=SOURCE,
        group=group,
        split=split,
        film_class=film_class,
        lung=masks / _LUNG / image.name,
        lung_convention=LungConvention.LUNG_FIELD,
        infection=masks / _INFECTION / image.name if annotated else None,
    )
