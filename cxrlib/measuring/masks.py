"""From a network's probabilities to the masks that are measured (qu-ex section 3.2).

Lung: threshold, hole filling, removal of regions under a share of all positive pixels, plausibility, left and right.
Infection: threshold, cut to the cleaned lung; under a share of the lung (by default, none) it is taken for none, and so
it is where the bundle's own class head says that the film is normal (off unless the card sets `normal_gate`).

Connectivity is the usual dual pair: regions are connected with diagonals (8), their holes without (4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxr_schemas.card import Postprocess
from cxrlib.measuring import lung_sides
from cxrlib.measuring.plausibility import check_lung_shape, check_lung_share
from cxrlib.measuring.regions import Connectivity, Regions, find_regions, find_separate_regions, has_holes
from cxrlib.types import Masks, Prediction


def clean_masks(prediction: Prediction, constants: Postprocess) -> Masks:
    """Threshold and clean the probabilities of one film.

    With two lungs of very unequal size (one lung white) the small one may be under `min_region_fraction` and be
    removed with the specks; `Masks.lungs_found` then says that one lung was found.

    Parameters
    ----------
    prediction : Prediction
        Probabilities in [0, 1], float32, rows x columns of the bundle's input.
    constants : Postprocess
        Thresholds and limits of the bundle's card. A pixel is positive where its probability exceeds the threshold.

    Returns
    -------
    Masks
        On the same grid. Left and right are disjoint; the infection is a subset of the lung.

    Raises
    ------
    FilmError
        NO_LUNG if no lung pixel remains, so that no film is 0 % infected for want of a lung; IMPLAUSIBLE_LUNG if the
        mask has a size or shape that no chest film has (`cxrlib.measuring.plausibility`).
    """
    regions = lung_regions(prediction.lung, constants)
    lung = regions.mask
    check_lung_share(lung, constants)
    sides = lung_sides.split_lungs(lung, regions)
    check_lung_shape(regions, sides)
    return Masks(
        left=sides.left,
        right=sides.right,
        infection=None
        if prediction.infection is None
        else _infection(prediction, prediction.infection, lung, constants),
        lungs_found=sides.found,
        split=sides.split,
    )


def lung_regions(probability: NDArray[np.float32], constants: Postprocess) -> Regions:
    """Return the lung as regions: thresholded, holes filled, small regions removed (qu-ex section 3.2).

    This is the lung that a row measures, and that the later network of a cascade is shown. It may be empty.
    """
    positive = probability > np.float32(constants.lung_threshold)
    regions = find_separate_regions(positive)  # where no boxes meet, there is no hole either
    if regions is None:
        regions = find_regions(fill_holes(positive, constants.max_hole_fraction))
    return remove_small_regions(regions, constants.min_region_fraction)


def fill_holes(mask: NDArray[np.bool_], max_hole_fraction: float) -> NDArray[np.bool_]:
    """Return `mask` with its holes filled: background that is enclosed and does not reach the film's edge.

    A hole over `max_hole_fraction` of the film stays: lungs that touch above and below the heart enclose the
    mediastinum, which is not lung.
    """
    if not has_holes(mask):
        return mask.copy()  # the common case, at a fifth of the cost
    background = find_regions(~mask, Connectivity.EDGES)
    rows, columns = mask.shape
    enclosed = (background.left > 0) & (background.top > 0) & (background.right < columns) & (background.bottom < rows)
    return mask | background.select(enclosed & (background.areas <= max_hole_fraction * mask.size))


def remove_small_regions(regions: Regions, min_fraction: float) -> Regions:
    """Return the regions that are no less than `min_fraction` of all their pixels (qu-ex section 3.2: 5 %)."""
    return regions.keep(regions.areas >= min_fraction * int(regions.areas.sum()))


def _infection(
    prediction: Prediction, probability: NDArray[np.float32], lung: NDArray[np.bool_], constants: Postprocess
) -> NDArray[np.bool_]:
    if prediction.classes is not None and prediction.classes.get(FilmClass.NORMAL, 0.0) > constants.normal_gate:
        return np.zeros_like(lung)
    infection: NDArray[np.bool_] = (probability > np.float32(constants.infection_threshold)) & lung
    if np.count_nonzero(infection) < constants.min_infection_fraction * np.count_nonzero(lung):
        return np.zeros_like(lung)
    return infection
