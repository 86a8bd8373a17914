"""Connected regions of a mask, by OpenCV.

The common mask is a few regions whose bounding boxes do not meet: two lungs and a speck. Their outlines, a quarter of
the cost of labelling, then tell each region's pixels: those in its box. Any other mask is labelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import combinations
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

#: Regions that are looked at by their boxes at most; each costs 10 microseconds, labelling 100 for any number.
_FEW: Final = 6
#: Pixels of the largest grid on which no mask has more regions than 16 bits can number (4-connected: every other one).
_SHORT_LABELS: Final = 2 * 65_534

#: Left, top, width, height.
_Box = Sequence[int]


class Connectivity(IntEnum):
    """Which neighbours are connected. Regions and their holes take the two dual ones."""

    EDGES = 4
    EDGES_AND_CORNERS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Regions of a mask; entry ``i`` of every array but `mask` and `labels` is about one of them.

    Attributes
    ----------
    mask : bool array, rows x columns
        All regions together.
    labels : uint16 or int32 array, rows x columns, or None
        ``i + 1`` on region ``i``, 0 off the mask. None where no two bounding boxes meet, so that each region is the
        mask in its box.
    areas : int64 array
        Pixels.
    left, top, right, bottom : int64 array
        Bounding boxes in pixels; `right` and `bottom` are one past the last.
    columns : float64 array
        Column of the centroid.
    """

    mask: NDArray[np.bool_]
    labels: NDArray[np.integer] | None
    areas: NDArray[np.int64]
    left: NDArray[np.int64]
    top: NDArray[np.int64]
    right: NDArray[np.int64]
    bottom: NDArray[np.int64]
    columns: NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.areas.size)

    @property
    def height(self) -> int:
        """Rows from the top of the highest region to the foot of the lowest; there must be one."""
        return int(max(self.bottom.tolist()) - min(self.top.tolist()))  # seven times as fast as numpy for so few

    @property
    def width(self) -> int:
        """Columns from the left edge of the leftmost region to the right edge of the rightmost; there must be one."""
        return int(max(self.right.tolist()) - min(self.left.tolist()))

    def box(self, index: int) -> tuple[slice, slice]:
        """Return the rows and columns of a region's bounding box."""
        return (
            slice(int(self.top[index]), int(self.bottom[index])),
            slice(int(self.left[index]), int(self.right[index])),
        )

    def within_box(self, index: int) -> NDArray[np.bool_]:
        """Return one region within its bounding box."""
        box = self.box(index)
        return self.mask[box] if self.labels is None else self.labels[box] == index + 1

    def select(self, wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the mask of the regions for which `wanted` is set, as an array of its own."""
        if wanted.all():
            return self.mask.copy()
        if self.labels is not None:
            mask: NDArray[np.bool_] = np.take(np.concatenate(([False], wanted)), self.labels, mode="clip")
            return mask
        mask = np.zeros_like(self.mask)
        for index in np.flatnonzero(wanted):
            box = self.box(int(index))
            mask[box] = self.mask[box]
        return mask

    def keep(self, wanted: NDArray[np.bool_]) -> Regions:
        """Return the regions for which `wanted` is set, in the same order."""
        if wanted.all():
            return self
        labels = self.labels
        if labels is not None:
            numbers = np.concatenate(([0], np.cumsum(wanted) * wanted)).astype(labels.dtype)
            labels = np.take(numbers, labels, mode="clip")
        return Regions(
            mask=self.select(wanted),
            labels=labels,
            areas=self.areas[wanted],
            left=self.left[wanted],
            top=self.top[wanted],
            right=self.right[wanted],
            bottom=self.bottom[wanted],
            columns=self.columns[wanted],
        )

    def mirrored(self) -> Regions:
        """Return the regions of the mask mirrored left to right, in the same order."""
        width = self.mask.shape[1]
        return Regions(
            mask=self.mask[:, ::-1],
            labels=None if self.labels is None else self.labels[:, ::-1],
            areas=self.areas,
            left=width - self.right,
            top=self.top,
            right=width - self.left,
            bottom=self.bottom,
            columns=width - 1 - self.columns,
        )


def find_regions(mask: NDArray[np.bool_], connectivity: Connectivity = Connectivity.EDGES_AND_CORNERS) -> Regions:
    """Return the connected regions of a bool mask, in the order in which OpenCV's labelling numbers them."""
    if connectivity is Connectivity.EDGES_AND_CORNERS:
        apart = find_separate_regions(mask)
        if apart is not None:
            return apart
    _, labels, stats, centroids = cv2.connectedComponentsWithStats(
        _bytes(mask), connectivity=int(connectivity), ltype=_label_type(mask)
    )
    left, top, width, height, areas = np.asarray(stats, dtype=np.int64)[1:].T
    return Regions(
        mask=mask,
        labels=np.asarray(labels),
        areas=areas,
        left=left,
        top=top,
        right=left + width,
        bottom=top + height,
        columns=np.asarray(centroids, dtype=np.float64)[1:, 0],
    )


def find_separate_regions(mask: NDArray[np.bool_]) -> Regions | None:
    """Return the regions that `find_regions` gives, or None where they are many, have holes, or two boxes meet."""
    # In three fifths of the time of `findContours`; tells no outline of a region from that of a hole.
    outlines = cv2.findContoursLinkRuns(_bytes(mask))[0]
    if len(outlines) > _FEW:
        return None
    boxes: list[_Box] = [cv2.boundingRect(outline) for outline in outlines]
    # The outline of a hole lies within the box of its region.
    if any(_meet(*pair) for pair in combinations(boxes, 2)):
        return None
    # OpenCV labels in blocks of two rows; boxes that begin in one block and do not meet lie side by side.
    boxes.sort(key=lambda box: (box[1] // 2, box[0]))
    left, top, width, height = np.array(boxes, dtype=np.int64).reshape(-1, 4).T
    counts = [column_counts(mask[y : y + h, x : x + w]) for x, y, w, h in boxes]
    areas = [int(count.sum()) for count in counts]
    columns = [
        int(count @ np.arange(x, x + w)) / area  # one division of exact integers, as OpenCV's own centroid is
        for (x, _, w, _), count, area in zip(boxes, counts, areas, strict=True)
    ]
    return Regions(
        mask=mask,
        labels=None,
        areas=np.array(areas, dtype=np.int64),
        left=left,
        top=top,
        right=left + width,
        bottom=top + height,
        columns=np.array(columns, dtype=np.float64),
    )


def count_regions(mask: NDArray[np.bool_], connectivity: Connectivity = Connectivity.EDGES_AND_CORNERS) -> int:
    """Return the number of connected regions of a bool mask."""
    left, top, width, height = cv2.boundingRect(_bytes(mask))
    if not width:
        return 0
    view = _bytes(mask[top : top + height, left : left + width])  # labelling takes as long as there is to look at
    return int(cv2.connectedComponents(view, connectivity=int(connectivity), ltype=_label_type(mask))[0]) - 1


def has_holes(mask: NDArray[np.bool_]) -> bool:
    """Return whether a bool mask encloses background: 4-connected, within 8-connected regions, off the film's edge."""
    nesting = cv2.findContours(_bytes(mask), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[1]
    return nesting is not None and bool((nesting[0, :, 3] >= 0).any())


def row_range(mask: NDArray[np.bool_]) -> slice:
    """Return the rows from the first to the last that have a pixel of a mask; none where it has no pixel."""
    rows = np.flatnonzero(cv2.reduce(_bytes(mask), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S))
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


def column_counts(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the number of pixels of a mask in each column."""
    counts: NDArray[np.int32] = cv2.reduce(_bytes(mask), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[0]
    return counts


def _bytes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(mask).view(np.uint8)


def _label_type(mask: NDArray[np.bool_]) -> int:
    return int(cv2.CV_16U if mask.size <= _SHORT_LABELS else cv2.CV_32S)


def _meet(one: _Box, other: _Box) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )
