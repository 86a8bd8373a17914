"""Read a folder of LabelMe files, each beside its film: polygons of lungs and infection (pneumonia-seg).

`cxrlib.datasets.polygons.REGION_BY_LABEL` maps shape labels to lung, left, right and infection. Other shapes are
ignored, with a note. A flag of the file gives the class (``covid``, ``pneumonia``, ``normal``). A film without an
infection polygon counts as free of infection only with the flag ``normal``; otherwise it may not have been annotated.
Lung polygons are assumed to be without the heart.

File names give the patient as in Kermany's films (``person12_...``), which the paper annotated. Any other name counts
as a separate patient. A fifth of the patients, by a digest of their names, is the test split.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final

from cxr_schemas import FilmClass
from cxrlib.datasets.class_labels import class_from_label
from cxrlib.datasets.folders import LabelledDataset, count_text
from cxrlib.datasets.layouts.kermany import patient_from_name
from cxrlib.datasets.polygons import Annotation, PolygonMask, Region, read_annotation
from cxrlib.datasets.sample import LungConvention, Mask, Sample
from cxrlib.datasets.splits import split_of

LAYOUT: Final = "LabelMe"
_LUNGS: Final = frozenset({Region.LUNG, Region.LEFT, Region.RIGHT})


def recognises(root: Path) -> bool:
    """Return whether the first JSON file in a folder or its subfolders is a LabelMe file."""
    first = next(islice(root.rglob("*.json"), 1), None)
    return first is not None and b'"shapes"' in first.read_bytes()


def read(root: Path) -> LabelledDataset:
    """Read every LabelMe file of a folder and its subfolders.

    Raises
    ------
    UsageError
        A JSON file is not a LabelMe file, or holds a shape without an area.
    """
    samples, unknown = [], Counter[str]()
    for path in sorted(root.rglob("*.json")):
        annotation = read_annotation(path)
        unknown.update(shape.label for shape in annotation.shapes if shape.region is None)
        samples.append(_sample(path, annotation, root.name))
    notes = [
        f"{root.name}: ignored {count_text(number, 'shape')} with the unknown label {label!r}"
        for label, number in sorted(unknown.items())
    ]
    without = sum(sample.infection is None for sample in samples)
    if without:
        notes.append(
            f"{root.name}: {count_text(without, 'film')} without an infection polygon and without the flag normal; "
            "they are not used as films without infection"
        )
    return LabelledDataset(LAYOUT, tuple(samples), tuple(notes))


def _sample(path: Path, annotation: Annotation, source: str) -> Sample:
    drawn = {shape.region for shape in annotation.shapes}
    classes = {found for flag in annotation.flags if (found := class_from_label(flag)) is not None}
    film_class = classes.pop() if len(classes) == 1 else None
    group = f"{source}/{patient_from_name(path.stem)}"

    def mask(*regions: Region, may_be_empty: bool = False) -> Mask | None:
        return PolygonMask(path, frozenset(regions)) if may_be_empty or drawn & set(regions) else None

    lung = mask(*_LUNGS)
    return Sample(
        image=path.parent / annotation.image,
        source=source,
        group=group,
        split=split_of(group),
        film_class=film_class,
        lung=lung,
        lung_left=mask(Region.LEFT),
        lung_right=mask(Region.RIGHT),
        lung_convention=None if lung is None else LungConvention.LUNG_FIELD,
        infection=mask(Region.INFECTION, may_be_empty=film_class is FilmClass.NORMAL),
    )
