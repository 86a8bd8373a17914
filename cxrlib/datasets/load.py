"""Load a labelled data set. Its layout is detected from the files in its folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cxrlib.datasets.folders import LabelledDataset
from cxrlib.datasets.layouts import covid_qu_ex, csv_index, kermany, labelme, montgomery, phantoms, radiography
from cxrlib.datasets.sample import Sample, Split
from cxrlib.datasets.splits import groups_in_both_splits
from cxrlib.errors import UsageError


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """A layout of labelled films.

    Attributes
    ----------
    name : str
    contents : str
        Files and folders by which the layout is detected.
    labels : str
        Labels of its films.
    split : str
        How its films are split and grouped.
    recognises : callable
        Returns whether a folder has this layout.
    read : callable
        Reads such a folder.
    """

    name: str
    contents: str
    labels: str
    split: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], LabelledDataset]


#: All layouts, in the order in which they are tried.
LAYOUTS: Final = (
    DatasetLayout(
        covid_qu_ex.LAYOUT,
        "`Infection Segmentation Data` or `Lung Segmentation Data`, with or without `splits.csv` beside them",
        "class, lung, infection (of COVID-19 and Normal films)",
        "`splits.csv`, else its own folders",
        covid_qu_ex.recognises,
        covid_qu_ex.read,
    ),
    DatasetLayout(
        csv_index.LAYOUT,
        "`index.csv`, or any CSV file: `image`, `lung_mask`, `infection_mask`, `label`, `group`, `split`, ...",
        "depends on its columns",
        "column `split`, else a fifth of the groups",
        csv_index.recognises,
        csv_index.read,
    ),
    DatasetLayout(
        phantoms.LAYOUT,
        "`truth.parquet`, written by `cxr phantom --masks`",
        "class, lung, infection, percent",
        "all test films",
        phantoms.recognises,
        phantoms.read,
    ),
    DatasetLayout(
        radiography.LAYOUT,
        "`COVID`, `Lung_Opacity`, `Normal`, `Viral Pneumonia`, each with `images` and `masks`",
        "class, lung",
        "a fifth of the runs of 20 file numbers",
        radiography.recognises,
        radiography.read,
    ),
    DatasetLayout(
        kermany.LAYOUT,
        "`train`, `val`, `test` of `NORMAL` and `PNEUMONIA`",
        "class",
        "its own folders; patient in the file name",
        kermany.recognises,
        kermany.read,
    ),
    DatasetLayout(
        montgomery.LAYOUT,
        "`CXR_png`, with `ManualMask/leftMask` and `rightMask`, or with `mask`",
        "lung, normal or not",
        "a fifth of the films",
        montgomery.recognises,
        montgomery.read,
    ),
    DatasetLayout(
        labelme.LAYOUT,
        "LabelMe's JSON files beside their films; shapes labelled lung, left, right, infection",
        "lung, infection, class by flag",
        "a fifth of the patients",
        labelme.recognises,
        labelme.read,
    ),
)


def load_dataset(path: str | Path) -> LabelledDataset:
    """Read all films of a data set in order of path, with notes on their labels.

    Raises
    ------
    UsageError
        The folder has no known layout or no films, lists a film whose image or mask is missing, or has films of one
        group in both splits.
    """
    root = Path(path)
    layout = next((layout for layout in LAYOUTS if layout.recognises(root)), None)
    if layout is None:
        known = "; ".join(f"{layout.name} ({layout.contents})" for layout in LAYOUTS)
        raise UsageError(f"expected a data set of a known layout in {root}: {known}; got none of them")
    found = layout.read(root)
    if not found.samples:
        raise UsageError(f"expected films in the data set {root} of layout {layout.name}; got none")
    for sample in found.samples:
        missing = next((file for file in sample.files if not file.is_file()), None)
        if missing is not None:
            raise UsageError(f"data set {root} lists film {sample.image.name}: expected its file {missing}; got none")
    if both := sorted(groups_in_both_splits(found.samples)):
        raise UsageError(
            f"data set {root}: expected every group in one split; got films of group {both[0]} in both "
            f"({len(both)} such groups)"
        )
    return LabelledDataset(found.layout, tuple(sorted(found.samples, key=lambda sample: sample.image)), found.notes)


def read_dataset(path: str | Path, split: Split | None = None) -> list[Sample]:
    """Return the films of a data set in order of path, all or of one split. Raises the errors of `load_dataset`."""
    return load_dataset(path).in_split(split)
