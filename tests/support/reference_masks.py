"""Reference implementation of cleaning, measuring and encoding masks, with scipy and loops, for comparison in tests."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cxr_schemas.card import Postprocess

_WITH_CORNERS = np.ones((3, 3))


def lung(mask: NDArray[np.bool_], constants: Postprocess) -> NDArray[np.bool_]:
    """Fill the holes of a thresholded mask and remove its small regions, as `cxrlib.measuring.masks` defines it."""
    filled = ndimage.binary_fill_holes(mask)
    holes, count = ndimage.label(filled & ~mask)
    for hole in range(1, count + 1):
        if (holes == hole).sum() > constants.max_hole_fraction * mask.size:
            filled &= holes != hole
    regions, count = ndimage.label(filled, structure=_WITH_CORNERS)
    cleaned = np.zeros_like(mask)
    for region in range(1, count + 1):
        if (regions == region).sum() >= constants.min_region_fraction * filled.sum():
            cleaned |= regions == region
    return cleaned


def infection(mask: NDArray[np.bool_], cleaned: NDArray[np.bool_], constants: Postprocess) -> NDArray[np.bool_]:
    """Cut a thresholded infection to the cleaned lung; return an empty mask below the minimum fraction of the lung."""
    within = mask & cleaned
    return within & (within.sum() >= constants.min_infection_fraction * cleaned.sum())


def percent(infected: NDArray[np.bool_], of: NDArray[np.bool_]) -> float | None:
    """Return the percentage of a lung that is infected, or None for an empty lung."""
    return None if of.sum() == 0 else 100.0 * int((infected & of).sum()) / int(of.sum())


def region_count(mask: NDArray[np.bool_]) -> int:
    """Return the number of 8-connected regions."""
    return int(ndimage.label(mask, structure=_WITH_CORNERS)[1])


def run_lengths(mask: NDArray[np.bool_]) -> str:
    """Return COCO's compressed run lengths, as `cxrlib.measuring.rle` defines them."""
    runs = [(value, len(list(run))) for value, run in groupby(mask.ravel(order="F").tolist())]
    counts = [0] * bool(runs[0][0]) + [length for _, length in runs]
    text = []
    for index, count in enumerate(counts):
        left = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group, left = left & 0x1F, left >> 5
            # The number ends when only copies of the group's sign bit are left.
            more = left != (-1 if group & 0x10 else 0)
            text.append(chr(48 + (group | 0x20 if more else group)))
    return "".join(text)
