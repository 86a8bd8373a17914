"""Measure severity from cleaned masks: percent infected, areas, infected regions and the grade.

Percent infected is the number of infected lung pixels over the number of lung pixels (qu-ex section 3.3; inflocnet
Eq. 3), for both lungs together and for each. A film counts as infected if any infected pixel remains (qu-ex section
3.3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_schemas.card import GradeCuts
from cxrlib.measuring.regions import count_regions
from cxrlib.types import Extent, Masks, Severity


@dataclass(frozen=True, slots=True)
class AreasMm2:
    """Lung and infected area of an extent in mm2; `infection` is None if the bundle gives no infection."""

    lung: float
    infection: float | None


def measure_severity(
    masks: Masks, pixel_mm2: float | None, cuts: GradeCuts, localised: NDArray[np.bool_] | None = None
) -> Severity:
    """Measure the severity of one film from its masks.

    Parameters
    ----------
    masks : Masks
        Masks that `cxrlib.measuring.masks.clean_masks` returned.
    pixel_mm2 : float or None
        Area of one mask pixel in mm2 at the detector (`CxrImage.pixel_mm2`); None if the spacing is unknown.
    cuts : GradeCuts
        Percent at which each grade begins, from the bundle's card.
    localised : bool array, rows x columns of the masks, or None
        Pixels where the localisation map exceeds its threshold; None if the bundle has no localisation.

    Returns
    -------
    Severity
        `regions` is the number of infected regions (8-connectivity). `regions` and `grade` are None if the bundle gives
        no infection.
    """
    left, right = _extent(masks.left, masks.infection), _extent(masks.right, masks.infection)
    whole = _sum_extents(left, right)
    percent = whole.percent
    return Severity(
        whole=whole,
        left=left,
        right=right,
        regions=None if masks.infection is None else count_regions(masks.infection),
        grade=None if percent is None else cuts.grade(percent),
        pixel_mm2=pixel_mm2,
        localisation_percent=None if localised is None else _extent(masks.lung, localised).percent,
    )


def areas_mm2(extent: Extent, pixel_mm2: float | None) -> AreasMm2 | None:
    """Return the areas of an extent in mm2, or None if the spacing is unknown."""
    if pixel_mm2 is None:
        return None
    infection = None if extent.infection_px is None else extent.infection_px * pixel_mm2
    return AreasMm2(lung=extent.lung_px * pixel_mm2, infection=infection)


def _sum_extents(left: Extent, right: Extent) -> Extent:
    """Return the extent of both lungs, which are disjoint and contain the infection."""
    infected = (
        None if left.infection_px is None or right.infection_px is None else left.infection_px + right.infection_px
    )
    return Extent(lung_px=left.lung_px + right.lung_px, infection_px=infected)


def _extent(lung: NDArray[np.bool_], infection: NDArray[np.bool_] | None) -> Extent:
    infected = None if infection is None else int(np.count_nonzero(infection & lung))
    return Extent(lung_px=int(np.count_nonzero(lung)), infection_px=infected)
