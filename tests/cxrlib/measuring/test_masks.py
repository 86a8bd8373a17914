"""Mask cleaning: OpenCV against a plain scipy reference, and properties of every cleaned film."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from cxr_schemas import FilmClass, LungsFound, Reason
from cxr_schemas.card import Postprocess
from cxrlib.errors import FilmError
from cxrlib.measuring.masks import clean_masks, fill_holes, remove_small_regions
from cxrlib.measuring.regions import find_regions
from tests.support import reference_masks
from tests.support.scored_films import ellipse, prediction, two_lungs

_LENIENT = Postprocess(min_lung_fraction=0.0, max_lung_fraction=1.0)


def cleaned_lung(mask: NDArray[np.bool_], constants: Postprocess) -> NDArray[np.bool_]:
    filled = fill_holes(mask, constants.max_hole_fraction)
    lung: NDArray[np.bool_] = remove_small_regions(find_regions(filled), constants.min_region_fraction).mask
    return lung


@st.composite
def blobs(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Smoothed, thresholded noise: many regions, holes, islands in holes, some at the edge."""
    rows, columns = draw(st.integers(1, 48)), draw(st.integers(1, 48))
    noise = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).random((rows, columns))
    smooth = ndimage.gaussian_filter(noise, draw(st.floats(0, 4)), mode="nearest")
    mask: NDArray[np.bool_] = smooth > np.quantile(smooth, draw(st.floats(0, 1)))
    return mask


_constants = st.builds(
    Postprocess, min_region_fraction=st.sampled_from([0.0, 0.05, 0.3]), max_hole_fraction=st.sampled_from([0, 0.03, 1])
)


@given(blobs(), _constants)
def test_cleaning_equals_the_scipy_reference_on_blobs(mask: NDArray[np.bool_], constants: Postprocess) -> None:
    np.testing.assert_array_equal(cleaned_lung(mask, constants), reference_masks.lung(mask, constants))


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))), _constants)
def test_cleaning_equals_the_scipy_reference_on_any_small_mask(mask: NDArray[np.bool_], constants: Postprocess) -> None:
    np.testing.assert_array_equal(cleaned_lung(mask, constants), reference_masks.lung(mask, constants))


@given(blobs(), _constants)
def test_cleaning_twice_changes_nothing(mask: NDArray[np.bool_], constants: Postprocess) -> None:
    once = cleaned_lung(mask, constants)
    np.testing.assert_array_equal(cleaned_lung(once, constants), once)


@given(blobs(), blobs())
def test_sides_make_up_the_lung_and_infection_lies_within(lung: NDArray[np.bool_], other: NDArray[np.bool_]) -> None:
    infection = np.resize(other, lung.shape)
    try:
        masks = clean_masks(prediction(lung, infection), _LENIENT)
    except FilmError as error:
        assert error.reason in (Reason.NO_LUNG, Reason.IMPLAUSIBLE_LUNG)
        return
    assert masks.infection is not None
    assert not (masks.left & masks.right).any()
    np.testing.assert_array_equal(masks.lung, cleaned_lung(lung, _LENIENT))
    np.testing.assert_array_equal(masks.infection, infection & masks.lung)
    assert (masks.lungs_found is LungsFound.BOTH) == bool(masks.left.any() and masks.right.any())


@given(blobs())
def test_mirrored_film_gives_mirrored_lungs_with_names_exchanged(mask: NDArray[np.bool_]) -> None:
    lung = cleaned_lung(mask, _LENIENT)
    moment = lung.sum(axis=0) @ (2 * np.arange(lung.shape[1]) - (lung.shape[1] - 1))
    assume(moment != 0)  # a single lung exactly in the middle has no side
    try:
        masks = clean_masks(prediction(mask), _LENIENT)
    except FilmError:
        return
    mirrored = clean_masks(prediction(mask[:, ::-1]), _LENIENT)
    np.testing.assert_array_equal(mirrored.left, masks.right[:, ::-1])
    np.testing.assert_array_equal(mirrored.right, masks.left[:, ::-1])


def test_hole_is_filled_and_speck_removed() -> None:
    lungs = two_lungs(128)
    spoiled = lungs & ~ellipse(128, 0.5, 0.28, 0.05, 0.05) | ellipse(128, 0.05, 0.05, 0.02, 0.02)
    np.testing.assert_array_equal(clean_masks(prediction(spoiled), Postprocess()).lung, lungs)


def test_mediastinum_between_touching_lungs_is_not_filled() -> None:
    ring = two_lungs(128)
    ring[[36, 37, 38, 90, 91, 92], 36:92] = True
    masks = clean_masks(prediction(ring), Postprocess())
    assert masks.split
    assert masks.lungs_found is LungsFound.BOTH
    assert not masks.lung[64, 64]


def test_five_percent_rule_removes_a_region_below_and_keeps_one_at_five_percent() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[2:21, 2:22] = True  # 380 pixels
    mask[30:34, 30:35] = True  # 20 of 400
    assert remove_small_regions(find_regions(mask), 0.05).mask[30, 30]
    mask[33, 34] = False  # 19 of 399
    assert not remove_small_regions(find_regions(mask), 0.05).mask[30, 30]


def test_probability_at_the_threshold_is_not_lung() -> None:
    lungs = two_lungs(64)
    with pytest.raises(FilmError) as caught:
        clean_masks(prediction(np.zeros_like(lungs), None), Postprocess())
    assert caught.value.reason is Reason.NO_LUNG
    at_threshold = prediction(lungs)
    at_threshold.lung[lungs] = 0.5
    with pytest.raises(FilmError) as caught:
        clean_masks(at_threshold, Postprocess(lung_threshold=0.5))
    assert caught.value.reason is Reason.NO_LUNG


def test_white_lung_that_is_removed_as_a_speck_is_not_among_the_lungs_found() -> None:
    mask = ellipse(128, 0.5, 0.28, 0.34, 0.16) | ellipse(128, 0.3, 0.72, 0.03, 0.03)
    masks = clean_masks(prediction(mask), Postprocess())
    assert masks.lungs_found is LungsFound.RIGHT_ONLY
    assert not masks.left.any()


def test_infection_below_its_minimum_share_is_removed() -> None:
    lungs = two_lungs(64)
    infection = ellipse(64, 0.5, 0.28, 0.03, 0.03)
    masks = clean_masks(prediction(lungs, infection), Postprocess(min_infection_fraction=0.05))
    assert masks.infection is not None
    assert not masks.infection.any()
    masks = clean_masks(prediction(lungs, infection), Postprocess(min_infection_fraction=0.001))
    np.testing.assert_array_equal(masks.infection, infection)


def test_normal_gate_removes_the_infection_of_a_film_classified_as_normal() -> None:
    lungs, infection = two_lungs(64), ellipse(64, 0.5, 0.28, 0.1, 0.1)
    classes = {FilmClass.COVID19: 0.3, FilmClass.PNEUMONIA: 0.1, FilmClass.NORMAL: 0.6}
    for gate, expected in ((0.5, np.zeros_like(lungs)), (0.6, infection), (1.0, infection)):
        masks = clean_masks(prediction(lungs, infection, classes), Postprocess(normal_gate=gate))
        np.testing.assert_array_equal(masks.infection, expected)
    ungated = clean_masks(prediction(lungs, infection), Postprocess(normal_gate=0.5))
    np.testing.assert_array_equal(ungated.infection, infection)


def test_bundle_without_infection_has_no_infection_mask() -> None:
    assert clean_masks(prediction(two_lungs()), Postprocess()).infection is None
