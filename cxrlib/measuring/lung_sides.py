"""Part a lung mask into the patient's left and right lung.

The mask is taken to lie in the standard orientation of a frontal film: the patient's left lung is on the image's right.
Regions are connected with diagonals (8-connectivity). What is done, in order:

1. *One lung or two?* Two, where the mask is wide for its height and either its regions lie side by side or it reaches
   across the middle of the film. Otherwise one, named by the side of the film's middle that its centre of mass is on.
2. *A region each.* Each region goes, whole, to the side of the midline that its centroid is on.
3. *Lungs that touch.* One region that spans both sides is cut along the vertical seam that crosses the fewest lung
   pixels (dynamic programming over rows; the seam moves at most one column per row and is drawn weakly to the
   midline), so a neck of contact is cut and the mediastinum is left as it is.

The proportions below were set on the 2,113 lung masks with known sides or two clear regions that the project can test
on (adult PA and AP, children, four annotation conventions), each stretched to a square grid as a network reads it.
There, both lungs together are at least 0.71 as wide as high, one lung at most 0.92 of the height of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import LungsFound
from cxrlib.measuring.regions import Regions, column_counts, find_regions

#: A mask narrower than this share of its height is one lung.
MIN_PAIR_WIDTH: Final = 0.6
#: Regions side by side may overlap by this share of the film's width (lungs of a turned patient).
MAX_SIDE_OVERLAP: Final = 0.04
#: A region that spans both lungs reaches this share of its width beyond the midline, on either side.
MIN_CROSSING: Final = 0.2
#: A cut that leaves less than this share of the region on one side does not part two lungs.
MIN_PART: Final = 0.05
#: A cut may cross this share of the mask's height, or more only where the region is as wide as high.
MAX_NECK: Final = 0.5
#: Cost of crossing one lung pixel. Standing off the midline costs half as much at the edge of the band of columns that
#: the seam may take: a detour around lung is always worth it, and a blob without a neck is cut down the middle.
LUNG_COST: Final = 1000


@dataclass(frozen=True, slots=True, eq=False)
class LungSides:
    """A lung mask in two.

    Attributes
    ----------
    left, right : bool array, rows x columns
        The patient's own left and right lung; disjoint, and their union is the mask that was parted.
    found : LungsFound
    split : bool
        The lungs touched and were parted by a cut.
    """

    left: NDArray[np.bool_]
    right: NDArray[np.bool_]
    found: LungsFound
    split: bool


def split_lungs(lung: NDArray[np.bool_], regions: Regions | None = None) -> LungSides:
    """Part a lung mask into left and right lung.

    Deterministic, and even-handed: the mirrored mask gives the mirrored lungs with their names exchanged (unless the
    mask's centre of mass stands exactly in the middle of the film, where a lone lung is called the right one).

    Parameters
    ----------
    lung : bool array, rows x columns
        Mask of both lungs, patient's left on the image's right; at least one pixel.
    regions : Regions, optional
        The regions of `lung`, where they are known already.

    Raises
    ------
    ValueError
        If the mask is empty.
    """
    regions = find_regions(lung) if regions is None else regions
    if not len(regions):
        raise ValueError(f"expected a lung mask with at least one pixel; got none in {lung.shape[0]}x{lung.shape[1]}")
    # Ties are broken towards low columns, so each mask is looked at with its heavier half there.
    columns = column_counts(lung)
    moment = int(columns @ (2 * np.arange(columns.size) - (columns.size - 1)))
    mirror = moment > 0
    low, cuts = _low_side(regions.mirrored() if mirror else regions)
    right = regions.select(low)
    for index, cut in cuts.items():
        box = regions.box(index)
        right[box] = np.where(regions.within_box(index), cut[:, ::-1] if mirror else cut, right[box])
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
    """Return which regions are of the lung at low columns, in a mask that is heavier there.

    Of each region that was cut, by its index, also the part that is of that lung, within its box.
    """
    midline = _midline(regions, regions.mask.shape[1])
    every = np.ones(len(regions), dtype=np.bool_)
    if midline is None:
        return every, {}
    cuts = {}
    for index in _spanning(regions, midline):
        cut = _cut(regions.within_box(index), midline - int(regions.left[index]), regions.height)
        if cut is not None:
            cuts[index] = cut
    # A lone region that no cut parts is one lung, on the side that most of it is on.
    return every if len(regions) == 1 and not cuts else regions.columns < midline, cuts


def _midline(regions: Regions, film_columns: int) -> float | None:
    """Return the column between the two lungs, in pixel coordinates, or None where the mask is one lung."""
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
    """Return the indices of the regions that are as wide as two lungs and lie on both sides of the midline."""
    wide = MIN_PAIR_WIDTH * regions.height
    spanning = []
    for index, (left, right) in enumerate(zip(regions.left.tolist(), regions.right.tolist(), strict=True)):
        width, inside = right - left, midline - left
        if width > wide and MIN_CROSSING * width <= inside <= (1 - MIN_CROSSING) * width:
            spanning.append(index)
    return spanning


def _cut(region: NDArray[np.bool_], midline: float, mask_height: int) -> NDArray[np.bool_] | None:
    """Return the low part of a region, given within its box, or None where no cut there parts two lungs."""
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
    pull = LUNG_COST * np.abs(2 * np.arange(columns) - round(twice_midline)) // (2 * columns)
    cost = (LUNG_COST * band + pull).astype(np.int64)
    total = np.full((rows, columns + 2), np.iinfo(np.int64).max // 2)  # a column of infinities on either side
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
