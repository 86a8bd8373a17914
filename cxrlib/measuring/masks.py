"""Clean a network's probabilities into the lung and infection masks that are measured (qu-ex section 3.2).

Lung, in this order:

1. Threshold (`Postprocess.lung_threshold`).
2. Fill holes (`fill_holes`).
3. Remove small regions: the 5 % rule (`remove_small_regions`). A region under 5 % of all lung pixels is removed. The
   share is `min_region_fraction` on the bundle's card; its default is `cxr_schemas.card.MIN_REGION_FRACTION`.
4. Check size and shape (`cxrlib.measuring.plausibility`).
5. Split into left and right lung (`cxrlib.measuring.lung_sides`).

Infection: threshold, and cut to the cleaned lung. The card may set two limits, both off by default: infection under a
share of the lung counts as none (`min_infection_fraction`), and so does any infection if the class head finds the film
normal with a probability above `normal_gate`.

Regions are connected with diagonals (8-connectivity), their holes without (4-connectivity).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxr_schemas.card import Postprocess
from cxrlib.measuring.lung_sides import split_lungs
from cxrlib.measuring.plausibility import check_lung_shape, check_lung_share
from cxrlib.measuring.regions import Connectivity, Regions, find_regions, find_separate_regions, has_holes
from cxrlib.types import Masks, Prediction


def clean_masks(prediction: Prediction, constants: Postprocess) -> Masks:
    """Threshold and clean the probabilities of one film.

    If one lung is nearly white, it may be smaller than `min_region_fraction` and be removed like a speck.
    `Masks.lungs_found` then states that one lung was found.

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
        NO_LUNG if no lung pixel remains (such a film must not count as 0 % infected); IMPLAUSIBLE_LUNG if the mask has
        a size or shape that no chest film has (`cxrlib.measuring.plausibility`).
    """
    regions = lung_regions(prediction.lung, constants)
    lung = regions.mask
    check_lung_share(lung, constants)
    sides = split_lungs(lung, regions)
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
    """Return the regions of the cleaned lung: thresholded, holes filled, small regions removed (qu-ex section 3.2).

    A row measures this lung, and the later network of a cascade reads the film within it. It may be empty.
    """
    positive = probability > np.float32(constants.lung_threshold)
    regions = find_separate_regions(positive)  # if no boxes overlap, there are no holes either
    if regions is None:
        regions = find_regions(fill_holes(positive, constants.max_hole_fraction))
    return remove_small_regions(regions, constants.min_region_fraction)


def fill_holes(mask: NDArray[np.bool_], max_hole_fraction: float) -> NDArray[np.bool_]:
    """Return `mask` with its holes filled. A hole is background that the mask encloses, away from the film's edge.

    A hole larger than `max_hole_fraction` of the film stays open: lungs that touch above and below the heart enclose
    the mediastinum, which is not lung.
    """
    if not has_holes(mask):
        return mask.copy()  # the common case, in a fifth of the time
    background = find_regions(~mask, Connectivity.EDGES)
    rows, columns = mask.shape
    enclosed = (background.left > 0) & (background.top > 0) & (background.right < columns) & (background.bottom < rows)
    return mask | background.select(enclosed & (background.areas <= max_hole_fraction * mask.size))


def remove_small_regions(regions: Regions, min_fraction: float) -> Regions:
    """Apply the 5 % rule: return the regions that have at least `min_fraction` of the pixels of all regions.

    Parameters
    ----------
    regions : Regions
    min_fraction : float
        0 to 1; qu-ex section 3.2 uses 5 %. A region of exactly this share stays.
    """
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
