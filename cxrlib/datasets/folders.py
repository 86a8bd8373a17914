"""Helpers of the folder layouts: find the published folder, list its films, match films with masks."""

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
    """A labelled data set that was read from disk.

    Attributes
    ----------
    layout : str
        Name of the layout.
    samples : tuple of Sample
        In order of path.
    notes : tuple of str
        Limits of the labels, and what was left out and why. One sentence each, for display.
    """

    layout: str
    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def in_split(self, split: Split | None) -> list[Sample]:
        """Return the films of one split; all films for None."""
        return [sample for sample in self.samples if split is None or sample.split is split]


def innermost_folder(root: Path, *names: str) -> Path:
    """Descend from `root` into a subfolder with one of `names`, at most twice, and return the folder reached.

    Published archives often contain a folder of their own name once more.
    """
    for _ in range(2):
        inner = next((root / name for name in names if (root / name).is_dir()), None)
        if inner is None:
            break
        root = inner
    return root


def list_films(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, in order of name. Hidden files are ignored."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _IMAGES and not path.name.startswith("."))


def require_matching_names(images: Iterable[Path], *mask_folders: Path) -> None:
    """Check that each mask folder has exactly one mask per film, of the same file name.

    Raises
    ------
    UsageError
        A film has no mask, or a mask has no film. The message names the first such pair and their number.
    """
    by_name = {image.name: image for image in images}
    for folder in mask_folders:
        masks = {path.name for path in list_films(folder)} if folder.is_dir() else set()
        if without_mask := sorted(by_name.keys() - masks):
            raise UsageError(
                f"expected a mask {folder / without_mask[0]} for film {by_name[without_mask[0]]}; got no such file "
                f"({len(without_mask)} such films)"
            )
        if without_film := sorted(masks - by_name.keys()):
            raise UsageError(
                f"expected a film of the same name for mask {folder / without_film[0]}; got none "
                f"({len(without_film)} such masks)"
            )


def count_text(number: int, what: str) -> str:
    """Return a count with its noun: ``1 film``, ``1,200 films``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
