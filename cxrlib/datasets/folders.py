"""What the folder layouts share: finding a published folder, listing its films, pairing them with their masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cxrlib.datasets.sample import Sample, Split
from cxrlib.errors import UsageError

_IMAGES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm"})


@dataclass(frozen=True, slots=True)
class LabelledDataset:
    """A labelled data set as its layout was read.

    Attributes
    ----------
    layout : str
        Name of the layout.
    samples : tuple of Sample
        In order of path.
    notes : tuple of str
        What the labels are not good for, and what was left out and why: one sentence each, for a person.
    """

    layout: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def of(self, split: Split | None) -> list[Sample]:
        """Return the films of one split, or all."""
        return [sample for sample in self.samples if split is None or sample.split is split]


def innermost_folder(root: Path, *names: str) -> Path:
    """Return the innermost folder reached from `root` by going into a subfolder that has one of `names`, twice at most.

    Published archives often hold a folder of the same name within themselves.
    """
    for _ in range(2):
        inner = next((root / name for name in names if (root / name).is_dir()), None)
        if inner is None:
            break
        root = inner
    return root


def list_films(folder: Path) -> list[Path]:
    """Return the image files right in a folder, in order of name; hidden ones are passed over."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES and not path.name.startswith("."))


def require_matching_names(images: Iterable[Path], *mask_folders: Path) -> None:
    """Check that every film has a mask of its own file name in each folder, and every mask a film.

    Raises
    ------
    UsageError
        Names the first film and the mask it lacks, or the first mask and the film it lacks, and how many there are.
    """
    by_name = {image.name: image for image in images}
    for folder in mask_folders:
        masks = {path.name for path in list_films(folder)} if folder.is_dir() else set()
        if lacking := sorted(by_name.keys() - masks):
            raise UsageError(
                f"film {by_name[lacking[0]]} is there, but its mask {folder / lacking[0]} is not "
                f"({len(lacking)} such films)"
            )
        if spare := sorted(masks - by_name.keys()):
            raise UsageError(
                f"mask {folder / spare[0]} is there, but no film of its name is beside it ({len(spare)} such masks)"
            )


def count_text(number: int, what: str) -> str:
    """Return a count with its noun: ``1 film``, ``1,200 films``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
