"""Severity: percent infected, areas, regions and grade."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from cxr_schemas import Grade, LungsFound
from cxr_schemas.card import GradeCuts
from cxrlib.measuring.regions import Connectivity, count_regions, find_regions
from cxrlib.measuring.severity import areas_mm2, measure_severity
from cxrlib.types import Extent, Masks


def masks_of(left: NDArray[np.bool_], right: NDArray[np.bool_], infection: NDArray[np.bool_] | None) -> Masks:
    found = LungsFound.BOTH if left.any() and right.any() else LungsFound.LEFT_ONLY
    return Masks(left, right, infection, found, split=False)


def _masks(percent: int) -> Masks:
    """A left lung of 100 pixels with `percent` infected, and a right lung of 100 without infection."""
    left, right, infection = (np.zeros((20, 20), dtype=bool) for _ in range(3))
    right[:10, :10] = True
    left[:10, 10:] = True
    infection[:10, 10:].flat[:percent] = True
    return masks_of(left, right, infection)


def test_percent_is_given_for_both_lungs_and_for_each() -> None:
    severity = measure_severity(_masks(30), None, GradeCuts())
    assert severity.whole.percent == 15.0
    assert severity.left.percent == 30.0
    assert severity.right.percent == 0.0
    assert severity.regions == 1


@given(hnp.arrays(np.int8, (12, 12), elements=st.integers(0, 4)))
def test_left_and_right_add_up_to_the_whole(codes: NDArray[np.int8]) -> None:
    left, right = (codes == 1) | (codes == 2), (codes == 3) | (codes == 4)
    severity = measure_severity(masks_of(left, right, (codes == 2) | (codes == 4)), 0.5, GradeCuts())
    whole, each = severity.whole, (severity.left, severity.right)
    assert whole.lung_px == sum(extent.lung_px for extent in each)
    assert whole.infection_px == sum(extent.infection_px or 0 for extent in each)
    for extent in (whole, *each):
        if extent.percent is not None:
            assert 0 <= extent.percent <= 100
        else:
            assert extent.lung_px == 0


def test_missing_lung_has_no_percent() -> None:
    severity = measure_severity(
        masks_of(np.ones((4, 4), bool), np.zeros((4, 4), bool), np.zeros((4, 4), bool)), 1.0, GradeCuts()
    )
    assert severity.right.percent is None
    assert severity.left.percent == 0.0


def test_bundle_without_infection_gives_no_percent_regions_or_grade() -> None:
    severity = measure_severity(masks_of(np.ones((4, 4), bool), np.zeros((4, 4), bool), None), 1.0, GradeCuts())
    assert severity.whole == Extent(16, None)
    assert (severity.whole.percent, severity.regions, severity.grade) == (None, None, None)


@pytest.mark.parametrize(
    ("percent", "grade"),
    [
        (0, Grade.NONE),
        (1, Grade.MILD),
        (49, Grade.MILD),  # of one lung; 24.5 % of both
        (50, Grade.MODERATE),
        (99, Grade.MODERATE),
        (100, Grade.SEVERE),
    ],
)
def test_grade_follows_the_cut_points(percent: int, grade: Grade) -> None:
    assert measure_severity(_masks(percent), None, GradeCuts()).grade is grade


def test_grade_follows_the_cut_points_of_the_card() -> None:
    assert measure_severity(_masks(50), None, GradeCuts(moderate=5, severe=10, critical=20)).grade is Grade.CRITICAL


def test_area_is_the_pixel_count_times_the_pixel_area() -> None:
    areas = areas_mm2(Extent(100, 30), 0.25)
    assert areas is not None
    assert (areas.lung, areas.infection) == (25.0, 7.5)
    assert areas_mm2(Extent(100, 30), None) is None


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_regions_are_counted_with_corners(mask: NDArray[np.bool_]) -> None:
    assert count_regions(mask) == ndimage.label(mask, np.ones((3, 3)))[1]
    assert count_regions(mask, Connectivity.EDGES) == ndimage.label(mask)[1]


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_regions_have_the_right_boxes_areas_and_centres(mask: NDArray[np.bool_]) -> None:
    for regions in (find_regions(mask), find_regions(mask[:, ::-1]).mirrored()):
        np.testing.assert_array_equal(regions.mask, mask)
        for i in range(len(regions)):
            only = regions.select(np.arange(len(regions)) == i)
            np.testing.assert_array_equal(only[regions.box(i)], regions.mask_in_box(i))
            rows, columns = np.nonzero(only)
            assert regions.areas[i] == rows.size
            assert (regions.top[i], regions.bottom[i]) == (rows.min(), rows.max() + 1)
            assert (regions.left[i], regions.right[i]) == (columns.min(), columns.max() + 1)
            assert regions.columns[i] == pytest.approx(columns.mean())


def test_localised_percent_counts_only_pixels_of_the_lungs() -> None:
    masks = _masks(0)
    localised = np.zeros((20, 20), dtype=bool)
    localised[:5] = True
    localised[15:] = True  # outside the lungs
    assert measure_severity(masks, None, GradeCuts(), localised).localisation_percent == 50
    assert measure_severity(masks, None, GradeCuts()).localisation_percent is None
