"""Planned decoding hardly changes the networks' results, on a dozen phantoms just large enough to be reduced.

`tests/benchmarks/decode_plan.py` checks the same bounds on hundreds of films of detector size.
"""

from __future__ import annotations

import pandas as pd
import pytest

from tests.benchmarks import decode_films
from tests.benchmarks.decode_plan import CLASS_SHARE, DICE, MOST_POINTS, Comparison, summary


@pytest.fixture(scope="module")
def lines() -> pd.DataFrame:
    films = pd.DataFrame(Comparison().compare(decode_films.phantoms_of_a_test()))
    assert len(films) == 12
    return summary(films).set_index("films")


def test_every_film_is_scored_in_both_ways(lines: pd.DataFrame) -> None:
    assert (lines.scored == lines.n).all()
    assert (lines.images_equal == 0).all()  # else nothing was reduced


def test_masks_and_percent_infected_hardly_change(lines: pd.DataFrame) -> None:
    assert lines.lung_dice_least.min() >= DICE
    assert lines.infection_dice_least.min() >= 0.98
    assert lines.points_most.max() <= MOST_POINTS / 2


def test_class_does_not_change(lines: pd.DataFrame) -> None:
    assert lines.class_same_share.min() >= CLASS_SHARE
