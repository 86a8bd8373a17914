"""Read the COVID-19 Radiography Database: four class folders with ``images`` and lung ``masks`` of the same names.

It has no patients and no split. Twenty consecutive file numbers of one class form a group, and a fifth of the groups,
by a digest of their names, is the test split. The masks are smaller than the films (256 against 299 pixels) and are
drawn without the heart. Infection was not annotated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cxr_schemas import FilmClass
from cxrlib.datasets.folders import LabelledDataset, innermost_folder, list_films, require_matching_names
from cxrlib.datasets.sample import LungConvention, Sample
from cxrlib.datasets.splits import BLOCK_SIZE, block_name, split_of

LAYOUT: Final = "COVID-19 Radiography Database"
SOURCE: Final = "covid19-radiography"
_FOLDER: Final = "COVID-19_Radiography_Dataset"
_CLASSES: Final = {
    "COVID": FilmClass.COVID19,
    "Lung_Opacity": FilmClass.PNEUMONIA,
    "Normal": FilmClass.NORMAL,
    "Viral Pneumonia": FilmClass.PNEUMONIA,
}
_NUMBER: Final = re.compile(r"(\d+)$")


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return bool(_class_folders(innermost_folder(root, _FOLDER)))


def read(root: Path) -> LabelledDataset:
    """Read all class folders that are present.

    Raises
    ------
    UsageError
        A film has no mask, or a mask has no film.
    """
    samples = tuple(_samples(innermost_folder(root, _FOLDER)))
    notes = (
        f"{SOURCE}: patients are unknown; {BLOCK_SIZE} consecutive file numbers form a group, and a fifth of the "
        "groups is for testing",
        f"{SOURCE}: infection was not annotated; no film is used as a film without infection",
    )
    return LabelledDataset(LAYOUT, samples, notes)


def _class_folders(root: Path) -> list[Path]:
    return [root / name for name in _CLASSES if (root / name / "images").is_dir()]


def _samples(root: Path) -> Iterator[Sample]:
    for folder in _class_folders(root):
        images = list_films(folder / "images")
        require_matching_names(images, folder / "masks")
        for image in images:
            number = _NUMBER.search(image.stem)
            group = f"{SOURCE}/{folder.name}/{block_name(int(number.group(1))) if number else image.stem}"
            yield Sample(
                image=image,
                source=SOURCE,
                group=group,
                split=split_of(group),
                film_class=_CLASSES[folder.name],
                lung=folder / "masks" / image.name,
                lung_convention=LungConvention.LUNG_FIELD,
            )
