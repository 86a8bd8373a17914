"""Selection of training films: data sets present, usable labels, validation share by name, and a limited number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxrlib.errors import UsageError
from cxrlib.training.film_selection import choose_films, is_held_out
from cxrlib.training.recipe import Recipe
from tests.support.tiny_recipes import SQUARE_FILMS, recipe_network, square_films, tiny_recipe

LOSS = {
    "lung": {"lung": {"kind": "binary-cross-entropy"}},
    "infection": {"infection": {"kind": "binary-cross-entropy"}},
    "classes": {"classes": {"kind": "categorical-cross-entropy"}},
}


def of(output: str, **changes: object) -> Recipe:
    return tiny_recipe(recipe_network(outputs=[output], loss=LOSS[output], **changes))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return square_films(tmp_path)


def test_groups_are_held_out_by_name_in_the_given_share() -> None:
    groups = [f"patient-{number}" for number in range(4000)]
    share = np.mean([is_held_out(group, 0.05) for group in groups])
    assert 0.04 < share < 0.06
    assert not any(is_held_out(group, 0.0) for group in groups)


def test_error_for_a_missing_data_set_names_expected_and_found_folders(data: Path) -> None:
    recipe = tiny_recipe(
        recipe_network(data=["own", "squares"], instead=["other"]),
        data={
            "own": {"folder": "COVID-Own", "licence": "x"},
            "squares": {"folder": "squares", "licence": "x"},
            "other": {"folder": "other", "licence": "x"},
        },
    )
    expected = r"network tiny is trained on COVID-Own and squares, or else on other in .*; got squares there"
    with pytest.raises(UsageError, match=expected):
        choose_films(recipe, recipe.networks[0], data)


def test_data_sets_of_the_paper_are_preferred(data: Path) -> None:
    square_films(data, "own")
    recipe = tiny_recipe(
        recipe_network(data=["own"], instead=["squares"]),
        data={name: {"folder": name, "licence": "x"} for name in ("own", "squares")},
    )
    assert {film.dataset for film in choose_films(recipe, recipe.networks[0], data)} == {"own"}


@pytest.mark.parametrize(
    ("output", "reads", "number"),
    [
        ("lung", "film", 8),
        ("infection", "film", 10),
        ("classes", "film", 12),
        ("classes", "lung_masked_film", 8),
    ],
)
def test_only_films_with_a_usable_label_are_chosen(output: str, reads: str, number: int, data: Path) -> None:
    """Of twelve films, two have no infection mask, two have no lung mask, and two a lung mask with the heart."""
    index = data / "squares" / "index.csv"
    head, *lines = index.read_text().splitlines()
    for place in (0, 1):
        lines[place] = lines[place].replace(f"masks/{place}.png,masks/{place}.png", f"masks/{place}.png,")
    for place in (2, 3):
        lines[place] = lines[place].replace(f"masks/{place}.png,masks/{place}.png", f",masks/{place}.png")
    for place in (4, 5):
        lines[place] = lines[place].replace("without heart", "with heart")
    index.write_text("\n".join([head, *lines]))
    recipe = of(output, reads=reads)
    assert len(choose_films(recipe, recipe.networks[0], data)) == number


def test_no_film_with_a_usable_label_is_an_error(data: Path) -> None:
    index = data / "squares" / "index.csv"
    index.write_text(index.read_text().replace("without heart", "with heart"))
    recipe = of("lung")
    with pytest.raises(UsageError, match="expected training films with lung labels; got none"):
        choose_films(recipe, recipe.networks[0], data)


def test_limited_films_are_drawn_from_each_class_reproducibly(data: Path) -> None:
    recipe = tiny_recipe()
    plan = recipe.networks[0]
    whole = choose_films(recipe, plan, data)
    few = choose_films(recipe, plan, data, 3)
    assert few == choose_films(recipe, plan, data, 3)
    training = [film for film in few if not film.held_out]
    assert {film.sample.film_class for film in training} == {"covid19", "pneumonia", "normal"}
    assert len(training) == 3
    assert sum(film.held_out for film in few) == 1
    assert few == [film for film in whole if film in few], "they have the order of all films"
    assert choose_films(recipe, plan, data, SQUARE_FILMS) == whole


def test_folders_listed_in_leave_out_are_not_used(data: Path) -> None:
    plain = {"folder": "squares", "licence": "x", "leave_out": ["images"]}
    recipe = tiny_recipe(data={"squares": plain})
    with pytest.raises(UsageError, match="got none"):
        choose_films(recipe, recipe.networks[0], data)
