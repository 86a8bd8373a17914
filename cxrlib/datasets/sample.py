"""One labelled film: where its image and masks lie, and which of its labels may be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.errors import UsageError
from schemas import FilmClass


class Split(StrEnum):
    """Part of a data set. Patients and near-duplicate films never straddle the two."""

    TRAIN = "train"
    TEST = "test"


class LungConvention(StrEnum):
    """What annotators called lung. Films drawn both ways agree at Dice .78 to .86 only, so the two are never mixed."""

    LUNG_FIELD = "lung_field"
    WITH_HEART = "with_heart"


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled film.

    Attributes
    ----------
    image : Path
    source : str
        Where it comes from; figures are reported per source.
    group : str
        Patient, or the smallest set of films known to hold one patient.
    split : Split
    film_class : FilmClass or None
    lung, lung_left, lung_right : Path or None
        Masks, white is lung; left and right are the patient's own.
    lung_convention : LungConvention or None
        None where there is no lung mask.
    infection : Path or None
        None where infection was never annotated, which is not the same as an empty mask.
    percent_infected : float or None
        Percent of the lung, where the data set states it.
    geographic_extent : float or None
        Radiologists' extent score, 0 to 8.
    """

    image: Path
    source: str
    group: str
    split: Split
    film_class: FilmClass | None = None
    lung: Path | None = None
    lung_left: Path | None = None
    lung_right: Path | None = None
    lung_convention: LungConvention | None = None
    infection: Path | None = None
    percent_infected: float | None = None
    geographic_extent: float | None = None


def read_mask(path: Path, rows: int | None = None, columns: int | None = None) -> NDArray[np.bool_]:
    """Read a mask image as bool, at its own size or resized (a pixel is set where over half its area was).

    Raises
    ------
    UsageError
        The file is not there or is not an image.
    """
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise UsageError(f"expected a mask image at {path}; met {'no file' if not path.exists() else 'no image'}")
    inside = np.asarray(grey > 127)
    if rows is None or columns is None or grey.shape == (rows, columns):
        return inside
    shrinks = grey.shape[0] >= rows and grey.shape[1] >= columns
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside.astype(np.float32), (columns, rows), interpolation=how) > 0.5)
