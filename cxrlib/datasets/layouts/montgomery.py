"""Read the Montgomery and Shenzhen tuberculosis sets: films in ``CXR_png``, lung masks drawn by hand.

Montgomery (138 films) has one mask per lung, in ``ManualMask/leftMask`` and ``ManualMask/rightMask``, with the file
name of the film. Shenzhen (662 films) has masks of both lungs for 566 films, in ``mask`` or ``masks``, named like the
film plus ``_mask``. Each film is of a different patient. File names end in 0 for a normal film and in 1 for
tuberculosis, which is none of our classes. A fifth of the films, by a digest of their names, is the test split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cxr_schemas import FilmClass
from cxrlib.datasets.folders import LabelledDataset, count_text, innermost_folder, list_films, require_matching_names
from cxrlib.datasets.sample import LungConvention, Mask, MaskUnion, Sample
from cxrlib.datasets.splits import split_of
from cxrlib.errors import UsageError

LAYOUT: Final = "Montgomery, Shenzhen"
_FOLDERS: Final = ("MontgomerySet", "ChinaSet_AllFiles")
_FILMS: Final = "CXR_png"
_SOURCES: Final = {"MCUCXR": "montgomery", "CHNCXR": "shenzhen"}
_MASK: Final = "_mask"


def recognises(root: Path) -> bool:
    """Return whether a folder has this layout."""
    return (innermost_folder(root, *_FOLDERS) / _FILMS).is_dir()


def read(root: Path) -> LabelledDataset:
    """Read a folder of either set, or one with the films of both.

    Raises
    ------
    UsageError
        A film has a mask of one lung only, or a mask has no film.
    """
    root = innermost_folder(root, *_FOLDERS)
    samples = tuple(_samples(root, list_films(root / _FILMS)))
    without_mask = sum(sample.lung is None for sample in samples)
    notes = ["tuberculosis is none of the classes; these films are used for lung figures only"]
    if without_mask:
        notes.append(
            f"{count_text(without_mask, 'film')} without a lung mask, because none was published; used for class only"
        )
    return LabelledDataset(LAYOUT, samples, tuple(f"{LAYOUT}: {note}" for note in notes))


def _samples(root: Path, images: list[Path]) -> Iterator[Sample]:
    manual = root / "ManualMask"
    sides = (manual / "leftMask", manual / "rightMask")
    by_hand = {path.name for path in list_films(sides[0])} if manual.is_dir() else set()
    if by_hand:
        require_matching_names([image for image in images if image.stem.startswith("MCUCXR")], *sides)
    whole = _whole_masks(root, {image.stem for image in images})
    for image in images:
        left, right = (side / image.name if image.name in by_hand else None for side in sides)
        lung: Mask | None = whole.get(image.stem)
        if left is not None and right is not None:
            lung = MaskUnion((left, right))
        source = _SOURCES.get(image.stem.partition("_")[0], root.name)
        group = f"{source}/{image.stem}"
        yield Sample(
            image=image,
            source=source,
            group=group,
            split=split_of(group),
            film_class=FilmClass.NORMAL if image.stem.endswith("_0") else None,
            lung=lung,
            lung_left=left,
            lung_right=right,
            lung_convention=None if lung is None else LungConvention.LUNG_FIELD,
        )


def _whole_masks(root: Path, films: set[str]) -> dict[str, Path]:
    """Return the masks of both lungs, by the name of the film."""
    folder = next((innermost_folder(root, name) for name in ("mask", "masks") if (root / name).is_dir()), None)
    if folder is None:
        return {}
    masks = {path.stem.removesuffix(_MASK): path for path in list_films(folder)}
    if without_film := sorted(masks.keys() - films):
        raise UsageError(
            f"expected a film {without_film[0]} in {root / _FILMS} for mask {masks[without_film[0]]}; got none "
            f"({len(without_film)} such masks)"
        )
    return masks
