"""Synthetic films: reproducible, with exact masks, requested extents and patterns of disease."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxrlib.phantom import Phantom, make_phantom
from cxrlib.phantom.body.anatomy import sample_anatomy
from cxrlib.phantom.body.geometry import lung_fields, make_grid, smooth_noise
from cxrlib.phantom.body.infection import sample_infection

SIDE = 256


def small(seed: int, film_class: FilmClass | None = None, percent: float | None = None) -> Phantom:
    return make_phantom(seed, rows=SIDE, columns=SIDE, film_class=film_class, percent=percent)


def digest(phantom: Phantom) -> str:
    arrays = (phantom.pixels, phantom.left, phantom.right, phantom.infection)
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def percent_of(infection: NDArray[np.bool_], lung: NDArray[np.bool_]) -> float:
    return 100.0 * np.count_nonzero(infection & lung) / np.count_nonzero(lung)


def test_film_depends_on_the_seed() -> None:
    assert digest(small(11)) == digest(small(11)) != digest(small(12))


def test_global_random_state_is_neither_read_nor_changed() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    first = digest(small(3))
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]
    np.random.seed(2)
    assert digest(small(3)) == first


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**40))
def test_masks_are_disjoint_and_infection_is_within_the_lung(seed: int) -> None:
    film = small(seed)
    assert not (film.left & film.right).any()
    assert not (film.infection & ~film.lung).any()
    assert film.left.any()
    assert film.right.any()
    assert film.pixels.dtype == np.float32
    assert film.pixels.min() >= 0.0
    assert film.pixels.max() <= 1.0
    assert film.infection.any() == (film.film_class is not FilmClass.NORMAL)
    assert (film.percent > 0) == (film.film_class is not FilmClass.NORMAL)
    edges = np.concatenate([film.lung[0], film.lung[-1], film.lung[:, 0], film.lung[:, -1]])
    assert not edges.any(), "a lung touches the edge of the film"


def test_truth_does_not_depend_on_the_size() -> None:
    films = [make_phantom(21, rows=rows, columns=columns, percent=37.0) for rows, columns in ((256, 256), (700, 700))]
    assert films[0].percent == films[1].percent
    for film in films:
        assert percent_of(film.infection, film.lung) == pytest.approx(film.percent, abs=0.6)
        assert percent_of(film.infection, film.left) == pytest.approx(film.percent_left, abs=0.8)
        assert percent_of(film.infection, film.right) == pytest.approx(film.percent_right, abs=0.8)
    assert films[0].spacing_mm * 256 == pytest.approx(films[1].spacing_mm * 700)


def test_taller_film_shows_the_same_person() -> None:
    square = make_phantom(8, rows=400, columns=400, percent=30.0)
    tall = make_phantom(8, rows=500, columns=400, percent=30.0)
    assert tall.percent == pytest.approx(square.percent, abs=0.2)
    middle = tall.lung[50:450]
    shared = np.count_nonzero(middle & square.lung)
    assert 2 * shared / (np.count_nonzero(tall.lung) + np.count_nonzero(square.lung)) > 0.99


@pytest.mark.parametrize("film_class", [FilmClass.COVID19, FilmClass.PNEUMONIA])
@pytest.mark.parametrize("percent", [0.5, 5.0, 50.0, 95.0])
def test_requested_percent_is_reached(film_class: FilmClass, percent: float) -> None:
    film = make_phantom(5, rows=512, columns=512, film_class=film_class, percent=percent)
    assert film.percent == pytest.approx(percent, abs=0.01)
    assert percent_of(film.infection, film.lung) == pytest.approx(percent, abs=0.3)


def test_percent_is_the_area_weighted_mean_of_both_lungs() -> None:
    film = make_phantom(9, rows=512, columns=512, percent=42.0)
    left, right = np.count_nonzero(film.left), np.count_nonzero(film.right)
    mean = (film.percent_left * left + film.percent_right * right) / (left + right)
    assert film.percent == pytest.approx(mean, abs=0.3)


def test_patients_left_lung_is_on_the_right_of_the_image() -> None:
    for seed in range(3):
        film = small(seed)
        assert np.argwhere(film.left)[:, 1].mean() > np.argwhere(film.right)[:, 1].mean() + SIDE / 8


def test_infection_brightens_only_the_infected_lung() -> None:
    ill, well = (make_phantom(30, rows=512, columns=512, film_class=each, percent=part) for each, part in
                 ((FilmClass.COVID19, 25.0), (FilmClass.NORMAL, 0.0)))  # fmt: skip
    assert np.array_equal(ill.lung, well.lung)
    change = ill.pixels - well.pixels
    inside = change[ill.infection]
    outside = change[ill.lung & ~ill.infection]
    assert np.median(inside) > 0.05
    assert np.median(inside) > 5 * abs(np.median(outside))
    assert np.mean(inside > 0) > 0.95


def test_mask_border_is_where_opacity_is_half_its_plateau() -> None:
    rng = np.random.default_rng(4)
    anatomy = sample_anatomy(rng)
    grid = make_grid(rng, anatomy, 512, 512)
    lungs = lung_fields(grid, anatomy.right), lung_fields(grid, anatomy.left)
    disease = sample_infection(
        rng, grid, lungs, np.full(grid.shape, 10.0, np.float32), film_class=FilmClass.PNEUMONIA, percent=30.0
    )
    clear = np.abs(disease.inside) > 1e-5
    assert np.array_equal((disease.filled > disease.plateau / 2)[clear], (disease.inside > 0)[clear])
    assert np.allclose(disease.filled[disease.inside > 0.04], disease.plateau[disease.inside > 0.04])
    assert disease.filled[disease.inside < -0.05].max() == 0.0
    assert np.all(disease.cm[(disease.inside > 0) & (lungs[0].inside > 0)] > 0)


def test_covid_is_bilateral_and_pneumonia_mostly_one_sided() -> None:
    def evenness(film_class: FilmClass) -> float:
        films = [small(seed, film_class, 25.0) for seed in range(9)]
        sides = [sorted((film.percent_left, film.percent_right)) for film in films]
        return float(np.median([less / more for less, more in sides]))

    assert evenness(FilmClass.COVID19) > 0.2
    assert evenness(FilmClass.PNEUMONIA) < 0.05


@pytest.mark.parametrize(
    ("film_class", "percent"),
    [(FilmClass.NORMAL, 3.0), (FilmClass.COVID19, 0.0), (None, 101.0), (None, -1.0), (None, float("nan"))],
)
def test_percent_that_contradicts_the_class_is_rejected(film_class: FilmClass | None, percent: float) -> None:
    with pytest.raises(ValueError, match="expected 0 percent for a normal film"):
        small(0, film_class, percent)


@pytest.mark.parametrize(("rows", "columns"), [(100, 201), (0, 100), (-5, -5)])
def test_invalid_size_is_rejected(rows: int, columns: int) -> None:
    with pytest.raises(ValueError, match="sides"):
        make_phantom(0, rows=rows, columns=columns)


def test_negative_seed_is_rejected() -> None:
    with pytest.raises(ValueError, match="seed"):
        make_phantom(-1)


def test_noise_has_the_same_pattern_on_every_grid() -> None:
    square = smooth_noise(np.random.default_rng(1), (512, 512), 8)
    tall_rng = np.random.default_rng(1)
    tall = smooth_noise(tall_rng, (700, 512), 8)
    np.testing.assert_allclose(tall[94:606], square, atol=1e-5)
    assert tall_rng.random() == pytest.approx(_after(np.random.default_rng(1)))


def _after(rng: np.random.Generator) -> float:
    smooth_noise(rng, (512, 512), 8)
    return float(rng.random())
