"""Split a lung mask into the patient's left and right lung.

The mask must be in the standard orientation of a frontal film: the patient's left lung is on the image's right. Regions
are connected with diagonals (8-connectivity). Steps, in order:

1. *One lung or two?* There are two if the mask is wide for its height, and either its regions are side by side or it
   crosses the middle of the film. Otherwise there is one lung, and the side of its centre of mass names it.
2. *Separate lungs.* Each whole region goes to the side of the midline that its centroid is on.
3. *Touching lungs.* A region that spans both sides is cut along the vertical seam that crosses the fewest lung pixels
   (dynamic programming over rows; the seam moves at most one column per row, and a small cost keeps it near the
   midline). This cuts a neck between the lungs and leaves the mediastinum unchanged.

The proportions below were chosen on the project's 2,113 lung masks with known sides or two clear regions (adult PA and
AP, children, four annotation conventions), each stretched to a square grid as a network reads it. There, the width of
both lungs together is at least 0.71 times their height, and the width of one lung at most 0.92 times that height.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import LungsFound
from cxrlib.measuring.regions import Regions, column_counts, find_regions

#: A mask narrower than this share of its height is a single lung.
MIN_PAIR_WIDTH: Final = 0.6
#: Regions that are side by side may overlap by this share of the film's width (the patient is rotated).
MAX_SIDE_OVERLAP: Final = 0.04
#: A region that spans both lungs has at least this share of its width on either side of the midline.
MIN_CROSSING: Final = 0.2
#: A cut that leaves less than this share of the region on one side does not separate two lungs.
MIN_PART: Final = 0.05
#: A cut may cross lung over this share of the mask's height; over more only if the region is as wide as high.
MAX_NECK: Final = 0.5
#: Cost of crossing one lung pixel. Straying from the midline costs less than that per row: at most half a lung pixel
#: where the midline is in the middle of the band of columns that the seam may use. So a region without a neck is cut in
#: the middle.
LUNG_COST: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class LungSides:
    """A lung mask, split into left and right lung.

    Attributes
    ----------
    left, right : bool array, rows x columns
        The patient's own left and right lung; disjoint, and their union is the whole mask.
    found : LungsFound
    split : bool
        Whether the lungs touched and were separated by a cut.
    """

    left: NDArray[np.bool_]
    right: NDArray[np.bool_]
    found: LungsFound
    split: bool


def split_lungs(lung: NDArray[np.bool_], regions: Regions | None = None) -> LungSides:
    """Split a lung mask into left and right lung.

    Deterministic and symmetric: the mirrored mask gives the mirrored lungs with their names exchanged. (Exception: a
    single lung whose centre of mass is exactly in the middle of the film is called the right one.)

    Parameters
    ----------
    lung : bool array, rows x columns
        Mask of both lungs, patient's left on the image's right; at least one pixel.
    regions : Regions, optional
        The regions of `lung`, if they are already known.

    Raises
    ------
    ValueError
        The mask is empty.
    """
    regions = find_regions(lung) if regions is None else regions
    if not len(regions):
        raise ValueError(f"expected a lung mask with at least one pixel; got none in {lung.shape[0]}x{lung.shape[1]}")
    # Ties are broken towards low columns, so each mask is processed with its heavier half there.
    columns = column_counts(lung)
    moment = int(columns @ (2 * np.arange(columns.size) - (columns.size - 1)))
    mirror = moment > 0
    low, cuts = _low_side(regions.mirrored() if mirror else regions)
    right = regions.select(low)
    for index, cut in cuts.items():
        box = regions.box(index)
        right[box] = np.where(regions.mask_in_box(index), cut[:, ::-1] if mirror else cut, right[box])
    left = lung ^ right
    if mirror:
        left, right = right, left
    if not left.any():
        found = LungsFound.RIGHT_ONLY
    elif not right.any():
        found = LungsFound.LEFT_ONLY
    else:
        found = LungsFound.BOTH
    return LungSides(left=left, right=right, found=found, split=bool(cuts))


def _low_side(regions: Regions) -> tuple[NDArray[np.bool_], dict[int, NDArray[np.bool_]]]:
    """Return which regions belong to the lung at low columns, in a mask that is heavier there.

    Also return, for each region that was cut, by its index, the part that belongs to that lung, cropped to its box.
    """
    midline = _midline(regions, regions.mask.shape[1])
    all_regions = np.ones(len(regions), dtype=np.bool_)
    if midline is None:
        return all_regions, {}
    cuts = {}
    for index in _spanning(regions, midline):
        cut = _cut_region(regions.mask_in_box(index), midline - int(regions.left[index]), regions.height)
        if cut is not None:
            cuts[index] = cut
    # A single region that no cut separates is one lung, on the side where most of it is.
    return all_regions if len(regions) == 1 and not cuts else regions.columns < midline, cuts


def _midline(regions: Regions, film_columns: int) -> float | None:
    """Return the column between the two lungs, in pixel coordinates, or None if the mask is a single lung."""
    left, right, columns = regions.left.tolist(), regions.right.tolist(), regions.columns.tolist()
    first, last = min(left), max(right)
    width = last - first
    if width <= MIN_PAIR_WIDTH * regions.height:
        return None
    order = sorted(range(len(regions)), key=columns.__getitem__)
    before = list(accumulate((right[index] for index in order[:-1]), max))
    after = list(accumulate((left[index] for index in order[:0:-1]), min))[::-1]
    gaps = [one - other for one, other in zip(after, before, strict=True)]
    if gaps:
        widest = gaps.index(max(gaps))
        if gaps[widest] > -MAX_SIDE_OVERLAP * film_columns:
            return float(before[widest] + after[widest] - 1) / 2
    middle = film_columns / 2
    if min(middle - first, last - middle) >= MIN_CROSSING * width:
        return float(first + last - 1) / 2
    return None


def _spanning(regions: Regions, midline: float) -> list[int]:
    """Return the indices of the regions that are as wide as two lungs and on both sides of the midline."""
    wide = MIN_PAIR_WIDTH * regions.height
    spanning = []
    for index, (left, right) in enumerate(zip(regions.left.tolist(), regions.right.tolist(), strict=True)):
        width, inside = right - left, midline - left
        if width > wide and MIN_CROSSING * width <= inside <= (1 - MIN_CROSSING) * width:
            spanning.append(index)
    return spanning


def _cut_region(region: NDArray[np.bool_], midline: float, mask_height: int) -> NDArray[np.bool_] | None:
    """Return the part of a region at low columns, cropped to its box, or None if no cut separates two lungs."""
    height, width = region.shape
    margin = round(MIN_CROSSING * width)
    seam = _seam(region[:, margin : width - margin], 2 * (midline - margin)) + margin
    crossed = int(np.count_nonzero(region[np.arange(height), seam]))
    if crossed > MAX_NECK * mask_height and width < mask_height:
        return None
    low: NDArray[np.bool_] = region & (np.arange(width) < seam[:, None])
    share = np.count_nonzero(low) / np.count_nonzero(region)
    return low if MIN_PART <= share <= 1 - MIN_PART else None


def _seam(band: NDArray[np.bool_], twice_midline: float) -> NDArray[np.intp]:
    """Return, per row, the column of the cheapest top-to-bottom path; integer costs, ties to the lower column."""
    rows, columns = band.shape
    midline_cost = LUNG_COST * np.abs(2 * np.arange(columns) - round(twice_midline)) // (2 * columns)
    cost = (LUNG_COST * band + midline_cost).astype(np.int64)
    total = np.full((rows, columns + 2), np.iinfo(np.int64).max // 2)  # a column of very large cost on either side
    total[0, 1:-1] = cost[0]
    for row in range(1, rows):
        above, here = total[row - 1], total[row, 1:-1]
        np.minimum(above[:-2], above[1:-1], out=here)
        np.minimum(here, above[2:], out=here)
        here += cost[row]
    seam = np.empty(rows, dtype=np.intp)
    column = int(np.argmin(total[-1]))
    seam[-1] = column - 1
    for row in range(rows - 2, -1, -1):
        column += int(np.argmin(total[row, column - 1 : column + 2])) - 1
        seam[row] = column - 1
    return seam
