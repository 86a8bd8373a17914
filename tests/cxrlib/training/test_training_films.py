"""Training films are read like archive films, and their augmentation depends on seed, epoch and index only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxrlib.datasets import Sample, Split
from cxrlib.errors import UsageError
from cxrlib.training.augment import random_affine, random_exposure, random_plain_affine, random_quality, warp
from cxrlib.training.film_selection import choose_films
from cxrlib.training.hyperparameters import AffineAugmentation, Fill, FilmAugmentation
from cxrlib.training.recipe import CLASSES
from cxrlib.training.training_films import LabelledFilm, TrainingFilms, load_sample, read_films
from tests.support.tiny_recipes import recipe_network, square_films, tiny_recipe

FILM = FilmAugmentation(kind="film")
HYBRID = AffineAugmentation(kind="affine", rotate_degrees=20, shift=0.2, shear=0.2, zoom=0.2, fill=Fill.NEAREST)


def labelled(seed: int, *, infected: bool = True) -> LabelledFilm:
    film = np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 8:56] = 1
    return LabelledFilm(film=film, lung=mask, infection=mask * infected, class_index=0 if infected else 2)


@pytest.mark.parametrize("augmentation", [FILM, HYBRID], ids=["film", "affine"])
def test_film_is_augmented_the_same_within_an_epoch_and_differently_in_the_next(
    augmentation: FilmAugmentation | AffineAugmentation,
) -> None:
    films = TrainingFilms([labelled(0), labelled(1)], augmentation, seed=3)
    first = films[1]
    again = films[1]
    films.epoch = 1
    later = films[1]
    assert torch.equal(first["film"], again["film"])
    assert not torch.equal(first["film"], later["film"])
    assert set(first["lung"].unique().tolist()) <= {0.0, 1.0}


def test_film_augmentation_stays_in_range_and_in_frame() -> None:
    film = np.zeros((64, 64), dtype=np.float32)
    film[20:40, 20:40] = 1
    for seed in range(20):
        generator = np.random.default_rng(seed)
        moved = warp(film, random_affine(generator, FILM, 64, 64))
        changed = random_quality(generator, FILM, random_exposure(generator, FILM, moved))
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        assert 0.5 * film.sum() < moved.sum() < 2 * film.sum()


def test_plain_affine_stays_within_its_limits_and_comes_near_them() -> None:
    generator = np.random.default_rng(0)
    drawn = np.array([random_plain_affine(generator, HYBRID, 100, 100) for _ in range(2000)])
    # The matrix is about the centre: the centre moves by the shift, and the determinant is the product of both zooms.
    centre = drawn @ np.array([49.5, 49.5, 1.0]) - 49.5
    area = np.linalg.det(drawn[:, :, :2])
    assert 19 < np.abs(centre).max() <= 20.001
    assert 0.64 <= area.min() < 0.7
    assert 1.3 < area.max() <= 1.4401
    turn = np.degrees(np.arctan2(drawn[:, 1, 0], drawn[:, 0, 0]))
    assert 19 < np.abs(turn).max() <= 20.001


def test_nearest_fill_leaves_no_black_beside_a_moved_film() -> None:
    bright = np.full((64, 64), 0.7, dtype=np.float32)
    shift = np.array([[1, 0, 20], [0, 1, 0]], dtype=np.float32)
    assert warp(bright, shift, Fill.NEAREST).min() == pytest.approx(0.7)
    assert warp(bright, shift).min() == 0


def test_film_is_unchanged_without_augmentation() -> None:
    one = labelled(0)
    drawn = TrainingFilms([one], None, seed=0)[0]
    assert torch.equal((drawn["film"][0] * 255).round().to(torch.uint8), torch.from_numpy(one.film))


def test_films_are_repeated_in_training_but_not_in_validation(tmp_path: Path) -> None:
    data = square_films(tmp_path)
    plain = {"folder": "squares", "licence": "none needed", "repeat_class": {"normal": 3}}
    recipe = tiny_recipe(recipe_network(phantoms={"count": 2, "seed": 1}), data={"squares": plain})
    plan = recipe.networks[0]
    chosen = choose_films(recipe, plan, data)
    training, held_out = read_films(plan, chosen, 64, 64)
    normal = sum(film.sample.film_class == "normal" and not film.held_out for film in chosen)
    assert normal >= 1
    assert len(held_out) == sum(film.held_out for film in chosen) >= 1
    assert len(training) == 2 + len(chosen) - len(held_out) + 2 * normal


def test_error_names_a_film_that_the_pipeline_would_reject(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    sample = Sample(image=broken, source="s", group="g", split=Split.TRAIN)
    with pytest.raises(UsageError, match=r"broken\.png cannot be read \(not_an_image\)"):
        load_sample(sample, CLASSES, 64, 64)
