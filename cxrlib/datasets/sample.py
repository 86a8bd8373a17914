"""One labelled film: the files of its image and masks, and its labels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxrlib.datasets.polygons import PolygonMask, fill_regions, read_annotation
from cxrlib.errors import UsageError


class Split(StrEnum):
    """Split of a data set. All films of a patient, and near-duplicate films, are in the same split.

    Validation films of a published data set belong to `TRAIN`: a recipe holds out its own share of the training groups.
    """

    TRAIN = "train"
    TEST = "test"


class LungConvention(StrEnum):
    """Whether lung masks leave out the heart shadow or include it.

    On films drawn both ways the two agree at a Dice of only .78 to .86, so they are never mixed.
    """

    LUNG_FIELD = "lung_field"
    WITH_HEART = "with_heart"


@dataclass(frozen=True, slots=True)
class MaskUnion:
    """A mask that is the union of several image files of one size, for example one per lung."""

    paths: tuple[Path, ...]


#: A mask on disk: one image file, the union of several, or shapes in a LabelMe file.
Mask = Path | MaskUnion | PolygonMask


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled film.

    Attributes
    ----------
    image : Path
    source : str
        Origin of the film; figures are reported per source.
    group : str
        Patient, or the smallest set of films known to hold one patient.
    split : Split
    film_class : FilmClass or None
    lung, lung_left, lung_right : Mask or None
        Masks, white is lung; left and right are the patient's. Read them with `read_mask`.
    lung_convention : LungConvention or None
        None if there is no lung mask.
    infection : Mask or None
        None if infection was not annotated. An empty mask means no infection.
    percent_infected : float or None
        Percent of the lung that is infected, 0 to 100, if the data set gives it.
    geographic_extent : float or None
        Radiologists' extent score, 0 to 8.
    """

    image: Path
    source: str
    group: str
    split: Split
    film_class: FilmClass | None = None
    lung: Mask | None = None
    lung_left: Mask | None = None
    lung_right: Mask | None = None
    lung_convention: LungConvention | None = None
    infection: Mask | None = None
    percent_infected: float | None = None
    geographic_extent: float | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the film: its image and its masks."""
        masks = (self.lung, self.lung_left, self.lung_right, self.infection)
        return (self.image, *(path for mask in masks if mask is not None for path in mask_files(mask)))


def mask_files(mask: Mask) -> tuple[Path, ...]:
    """Return the files of a mask."""
    match mask:
        case MaskUnion(paths):
            return paths
        case PolygonMask(path):
            return (path,)
        case _:
            return (mask,)


def read_mask(mask: Mask, rows: int | None = None, columns: int | None = None) -> NDArray[np.bool_]:
    """Read a mask as bool, at its own size or resized to rows x columns.

    A pixel of a resized mask is set if more than half of its area was.

    Raises
    ------
    UsageError
        A file is missing, is not an image or has the values 0 and 1, or the files of one mask differ in size.
    """
    inside = _at_own_size(mask)
    if rows is None or columns is None or inside.shape == (rows, columns):
        return inside
    shrinks = inside.shape[0] >= rows and inside.shape[1] >= columns
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside.astype(np.float32), (columns, rows), interpolation=interpolation) > 0.5)


def _at_own_size(mask: Mask) -> NDArray[np.bool_]:
    match mask:
        case PolygonMask(path, regions):
            return fill_regions(read_annotation(path), regions)
        case MaskUnion(paths):
            parts = [_image(path) for path in paths]
            if len({part.shape for part in parts}) > 1:
                sizes = ", ".join(f"{path} of {part.shape}" for path, part in zip(paths, parts, strict=True))
                raise UsageError(f"expected the files of one mask to be of one size; got {sizes}")
            return np.asarray(np.logical_or.reduce(parts))
        case _:
            return _image(mask)


def _image(path: Path) -> NDArray[np.bool_]:
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise UsageError(f"expected a mask image at {path}; got {'no file' if not path.exists() else 'no image'}")
    if grey.max() == 1:  # a mask of 0 and 1 would be read as empty
        raise UsageError(f"expected a mask of 0 and 255 at {path}; got one of 0 and 1")
    return np.asarray(grey > 127)
