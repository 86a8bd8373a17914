"""Read a labelled data set by the layout its folder has.

Three layouts are known: COVID-QU-Ex (its own folders with ``splits.csv`` beside them), a folder with an ``index.csv``
(one line a film: image, masks, labels, group, split), and a phantom archive (``truth.parquet``).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd

from cxrlib.datasets.sample import LungConvention, Sample, Split
from cxrlib.errors import UsageError
from schemas import FilmClass

_CLASSES: Final = {
    "COVID-19": FilmClass.COVID19,
    "Non-COVID": FilmClass.PNEUMONIA,
    "Normal": FilmClass.NORMAL,
    "covid": FilmClass.COVID19,
    "pneumonia": FilmClass.PNEUMONIA,
    "normal": FilmClass.NORMAL,
}


def read_dataset(folder: str | Path, split: Split | None = None) -> list[Sample]:
    """Return the films of a data set in order of path, all or of one split.

    Raises
    ------
    UsageError
        The folder has no known layout, or lists a film or mask that is not there (both are named).
    """
    root = Path(folder)
    for marker, reader in _READERS.items():
        if (root / marker).is_file():
            samples = reader(root)
            break
    else:
        raise UsageError(f"expected {', '.join(_READERS)} in the data set folder {root}; met none of them")
    _require_files(samples, root)
    chosen = [sample for sample in samples if split is None or sample.split is split]
    return sorted(chosen, key=lambda sample: sample.image)


def read_covid_qu_ex(root: Path) -> list[Sample]:
    """Read COVID-QU-Ex "Infection Segmentation Data": lung masks on all films, infection masks on COVID-19 and Normal.

    The infection masks of Non-COVID films are all zero because nobody drew them, so they are not taken for negatives.
    """
    samples = []
    for row in pd.read_csv(root / "splits.csv").itertuples():
        image = root / str(row.path)
        film_class = _CLASSES[str(row.class_folder)]
        masks = image.parent.parent
        samples.append(
            Sample(
                image=image,
                source="covid-qu-ex",
                group=str(row.group),
                split=Split(str(row.split)),
                film_class=film_class,
                lung=masks / "lung masks" / image.name,
                lung_convention=LungConvention.LUNG_FIELD,
                infection=None if film_class is FilmClass.PNEUMONIA else masks / "infection masks" / image.name,
            )
        )
    return samples


def read_indexed(root: Path) -> list[Sample]:
    """Read a folder with ``index.csv``; of its columns `image`, `group` and `split` are needed, all others optional."""
    index = pd.read_csv(root / "index.csv")
    missing = {"image", "group", "split"} - set(index.columns)
    if missing:
        raise UsageError(f"{root / 'index.csv'}: expected columns image, group and split; missing {sorted(missing)}")
    samples = []
    for row in index.to_dict("records"):
        lung = _path(root, row, "lung_mask", "mask")
        heart_left_out = "without heart" in str(row.get("mask_convention", ""))
        convention = LungConvention.LUNG_FIELD if heart_left_out else LungConvention.WITH_HEART
        samples.append(
            Sample(
                image=root / str(row["image"]),
                source=_source(root, str(row.get("id", ""))),
                group=str(row["group"]),
                split=Split(str(row["split"])),
                film_class=_CLASSES.get(str(row.get("class_label"))),
                lung=lung,
                lung_left=_path(root, row, "left_lung_mask", "left_mask"),
                lung_right=_path(root, row, "right_lung_mask", "right_mask"),
                lung_convention=convention if lung is not None else None,
                infection=_path(root, row, "infection_mask"),
                percent_infected=_number(row, "pct_infected"),
                geographic_extent=_number(row, "geographic_extent_0_8"),
            )
        )
    return samples


def _path(root: Path, row: Mapping[Hashable, Any], *columns: str) -> Path | None:
    """Return the file that the first filled one of `columns` names."""
    named = [row[column] for column in columns if isinstance(row.get(column), str) and row[column]]
    return root / named[0] if named else None


def _number(row: Mapping[Hashable, Any], column: str) -> float | None:
    value = row.get(column)
    return None if value is None or pd.isna(value) else float(value)


def _source(root: Path, film_id: str) -> str:
    prefix, separator, _ = film_id.partition("_")
    return f"{root.name}/{prefix}" if separator else root.name


def read_phantoms(root: Path) -> list[Sample]:
    """Read a phantom archive written with masks: every film is a test film, its truth exact."""
    truth = pd.read_parquet(root / "truth.parquet")
    good = truth[truth["expected"] == "scored"]
    samples = []
    for row in good.itertuples():
        image = root / str(row.path)
        masks = root / "masks" / image.relative_to(root / "films")
        samples.append(
            Sample(
                image=image,
                source="phantom",
                group=f"phantom-{row.seed}",
                split=Split.TEST,
                film_class=FilmClass(str(row.film_class)),
                lung=masks.with_suffix(".lung.png"),
                lung_convention=LungConvention.LUNG_FIELD,
                infection=masks.with_suffix(".infection.png"),
                percent_infected=float(str(row.percent)),
            )
        )
    return samples


_READERS: Final[dict[str, Callable[[Path], list[Sample]]]] = {
    "splits.csv": read_covid_qu_ex,
    "index.csv": read_indexed,
    "truth.parquet": read_phantoms,
}


def _require_files(samples: list[Sample], root: Path) -> None:
    for sample in samples:
        for path in (sample.image, sample.lung, sample.lung_left, sample.lung_right, sample.infection):
            if path is not None and not path.is_file():
                raise UsageError(f"data set {root} lists film {sample.image.name}, but its file {path} is not there")
