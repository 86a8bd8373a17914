"""Left and right lung: by region and position, by a cut if the lungs touch, and against annotated sides."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from cxr_schemas import LungsFound
from cxrlib.measuring import lung_sides
from cxrlib.measuring.lung_sides import split_lungs
from cxrlib.measuring.metrics import dice
from tests.support.paths import REAL_FILMS as _DATA
from tests.support.scored_films import ellipse, two_lungs


def touching_lungs(side: int = 128) -> NDArray[np.bool_]:
    """Return a pair of lungs that meet in front of the heart, by a neck of ten rows."""
    mask = two_lungs(side)
    mask[side // 3 : side // 3 + 10, side // 4 : 3 * side // 4] = True
    return mask


@st.composite
def pairs(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two lungs of different size and position that do not overlap: the right one (at low columns) and the left one."""
    middle = draw(st.floats(0.45, 0.55))
    sides = []
    for sign in (-1, 1):
        width = draw(st.floats(0.12, 0.18))
        gap = draw(st.floats(0.02, 0.05))
        height = draw(st.floats(0.22, 0.34))
        sides.append(ellipse(96, draw(st.floats(0.46, 0.54)), middle + sign * (gap + width), height, width))
    return sides[0], sides[1]


@given(pairs())
def test_separate_lungs_are_named_by_position(pair: tuple[NDArray[np.bool_], NDArray[np.bool_]]) -> None:
    right, left = pair
    sides = split_lungs(right | left)
    assert sides.found is LungsFound.BOTH
    assert not sides.split
    np.testing.assert_array_equal(sides.right, right)
    np.testing.assert_array_equal(sides.left, left)


@given(pairs(), st.integers(0, 80), st.integers(1, 12))
def test_touching_lungs_are_cut_where_they_touch(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], start: int, neck: int
) -> None:
    right, left = pair
    mask = right | left
    rows = np.flatnonzero(right.any(axis=1) & left.any(axis=1))
    rows = rows[np.minimum(start, rows.size - 1) :][:neck]
    for row in rows:
        mask[row, np.flatnonzero(right[row])[-1] : np.flatnonzero(left[row])[0]] = True
    assume(ndimage.label(mask, np.ones((3, 3)))[1] == 1)
    sides = split_lungs(mask)
    assert sides.split
    assert sides.found is LungsFound.BOTH
    np.testing.assert_array_equal(sides.left | sides.right, mask)
    assert not (sides.left & sides.right).any()
    assert dice(right, sides.right) > 0.85
    assert dice(left, sides.left) > 0.85


@pytest.mark.parametrize(("column", "found"), [(0.28, LungsFound.RIGHT_ONLY), (0.72, LungsFound.LEFT_ONLY)])
def test_single_lung_is_named_by_its_side_of_the_film(column: float, found: LungsFound) -> None:
    lung = ellipse(128, 0.5, column, 0.34, 0.16)
    sides = split_lungs(lung)
    assert sides.found is found
    assert not sides.split
    np.testing.assert_array_equal(sides.right if found is LungsFound.RIGHT_ONLY else sides.left, lung)


def test_single_lung_in_two_pieces_stays_one_lung() -> None:
    lung = ellipse(128, 0.5, 0.28, 0.4, 0.16)
    lung[60:64] = False
    sides = split_lungs(lung)
    assert sides.found is LungsFound.RIGHT_ONLY
    np.testing.assert_array_equal(sides.right, lung)


def test_pieces_of_two_broken_lungs_go_to_their_sides() -> None:
    right, left = ellipse(128, 0.5, 0.28, 0.4, 0.16), ellipse(128, 0.5, 0.72, 0.4, 0.16)
    right[60:64], left[40:44] = False, False
    left[80:83] = False
    sides = split_lungs(right | left)
    np.testing.assert_array_equal(sides.right, right)
    np.testing.assert_array_equal(sides.left, left)


def test_lungs_far_from_the_middle_of_the_film_are_still_two() -> None:
    right, left = ellipse(128, 0.5, 0.12, 0.25, 0.1), ellipse(128, 0.5, 0.38, 0.25, 0.1)
    sides = split_lungs(right | left)
    np.testing.assert_array_equal(sides.right, right)
    np.testing.assert_array_equal(sides.left, left)


def test_merged_blob_as_wide_as_two_lungs_is_cut_in_the_middle() -> None:
    sides = split_lungs(ellipse(128, 0.5, 0.5, 0.3, 0.36))
    assert sides.split
    assert 0.45 < sides.left.sum() / (sides.left.sum() + sides.right.sum()) < 0.55


def test_mirrored_touching_lungs_exchange_names() -> None:
    mask = touching_lungs()
    sides, mirrored = split_lungs(mask), split_lungs(mask[:, ::-1])
    assert sides.split
    np.testing.assert_array_equal(mirrored.left, sides.right[:, ::-1])
    np.testing.assert_array_equal(mirrored.right, sides.left[:, ::-1])


def test_splitting_an_empty_mask_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        split_lungs(np.zeros((8, 8), dtype=bool))


def reference_seam(band: NDArray[np.bool_], twice_midline: float) -> list[int]:
    """The cheapest path in plain Python; ties go to the lower column, from the bottom row up."""
    rows, columns = band.shape
    cost = [
        [
            lung_sides.LUNG_COST * int(band[r, c])
            + lung_sides.LUNG_COST * abs(2 * c - round(twice_midline)) // (2 * columns)
            for c in range(columns)
        ]
        for r in range(rows)
    ]
    total = [cost[0]]
    for r in range(1, rows):
        total.append([cost[r][c] + min(total[-1][max(c - 1, 0) : c + 2]) for c in range(columns)])
    path = [total[-1].index(min(total[-1]))]
    for r in range(rows - 2, -1, -1):
        path.append(min((c for c in range(path[-1] - 1, path[-1] + 2) if 0 <= c < columns), key=total[r].__getitem__))
    return path[::-1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 20), st.floats(0, 1), st.floats(0, 1))
def test_seam_equals_the_plain_reference(seed: int, rows: int, columns: int, level: float, middle: float) -> None:
    band = np.random.default_rng(seed).random((rows, columns)) < level
    assert lung_sides._seam(band, 2 * middle * columns).tolist() == reference_seam(band, 2 * middle * columns)


def _annotated(index: Path, wanted: str, left: str, right: str) -> list[tuple[Path, Path]]:
    if not index.exists():
        pytest.skip(f"needs real films: {index.parent.name}/index.csv of the shared data is absent")
    with index.open() as file:
        films = [row for row in csv.DictReader(file) if row["id"].startswith(wanted)]
    return [(index.parent / row[left], index.parent / row[right]) for row in films if row[left] and row[right]]


def _mask(path: Path) -> NDArray[np.bool_]:
    stored = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert stored is not None
    return np.asarray(cv2.resize(stored, (256, 256), interpolation=cv2.INTER_AREA) > 127)


@pytest.mark.parametrize(
    ("folder", "prefix", "left", "right", "least"),
    [
        ("lung_seg", "jsrt_", "left_mask", "right_mask", 1.0),
        # The outlines of gb_ cover the heart and come close to each other.
        ("infection_seg", "gb_", "left_lung_mask", "right_lung_mask", 0.97),
    ],
)
def test_sides_agree_with_the_annotators(folder: str, prefix: str, left: str, right: str, least: float) -> None:
    agreed = []
    for left_path, right_path in _annotated(_DATA / folder / "index.csv", prefix, left, right):
        true_left, true_right = _mask(left_path), _mask(right_path)
        sides = split_lungs(true_left | true_right)
        agreed.append(dice(true_left & ~true_right, sides.left) > 0.95 and dice(true_right, sides.right) > 0.95)
    assert np.mean(agreed) >= least
