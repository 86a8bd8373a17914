"""Read a labelled data set by the layout its folder has: what is there tells which it is."""

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
    holds : str
        What its folder holds, by which it is told.
    gives : str
        Which labels it has.
    split : str
        How its films are split and grouped.
    """

    name: str
    holds: str
    gives: str
    split: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], LabelledDataset]


#: Every layout, in the order in which they are tried.
LAYOUTS: Final = (
    DatasetLayout(
        covid_qu_ex.LAYOUT,
        "`Infection Segmentation Data` or `Lung Segmentation Data`, with `splits.csv` beside them or without",
        "class, lung, infection (of COVID-19 and Normal films)",
        "`splits.csv`, else its own folders",
        covid_qu_ex.recognises,
        covid_qu_ex.read,
    ),
    DatasetLayout(
        csv_index.LAYOUT,
        "`index.csv`, or any CSV file: `image`, `lung_mask`, `infection_mask`, `label`, `group`, `split`, ...",
        "what its columns hold",
        "column `split`, else a fifth of the groups",
        csv_index.recognises,
        csv_index.read,
    ),
    DatasetLayout(
        phantoms.LAYOUT,
        "`truth.parquet`, as `cxr phantom --masks` writes it",
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
    """Read all films of a data set, in order of path, with what is to be said of them.

    Raises
    ------
    UsageError
        The folder has no known layout, lists a film whose image or mask is not there (both are named), or puts one
        group on both sides of the split.
    """
    root = Path(path)
    layout = next((layout for layout in LAYOUTS if layout.recognises(root)), None)
    if layout is None:
        known = "; ".join(f"{layout.name} ({layout.holds})" for layout in LAYOUTS)
        raise UsageError(f"expected a data set of a known layout in {root}: {known}; got none of them")
    found = layout.read(root)
    if not found.samples:
        raise UsageError(f"expected films in the data set {root}, which has the layout {layout.name}; got none")
    for sample in found.samples:
        missing = next((file for file in sample.files if not file.is_file()), None)
        if missing is not None:
            raise UsageError(f"data set {root} lists film {sample.image.name}, but its file {missing} is not there")
    if both := sorted(groups_in_both_splits(found.samples)):
        raise UsageError(
            f"data set {root}: expected every group in one split; got films of group {both[0]} in both "
            f"({len(both)} such groups)"
        )
    return LabelledDataset(found.layout, tuple(sorted(found.samples, key=lambda sample: sample.image)), found.notes)


def read_dataset(path: str | Path, split: Split | None = None) -> list[Sample]:
    """Return the films of a data set in order of path, all or of one split; raises as `load_dataset` does."""
    return load_dataset(path).of(split)
