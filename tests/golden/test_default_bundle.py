"""The shipped bundle gives the same values on eight phantoms as when it was committed (stored beside this file).

After a new training of the bundle or a change in reading films (`cxrlib.settings.RESULTS_VERSION`), run
``python -m tests.golden.test_default_bundle`` to write the values again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrlib.film_steps import ScoringParameters, clean_and_measure
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.phantom.encode import encode_png
from cxrlib.phantom.film import make_phantom
from cxrlib.reading import read_film
from cxrlib.settings import RESULTS_VERSION, Settings
from cxrlib.types import ImageRef, ScoredFilm

GOLDEN = Path(__file__).with_name("default_bundle.json")
SEEDS = range(77_000, 77_008)
#: In fp32, two processors differ in the last bits of a logit, which can move a border pixel or two across a threshold.
PIXELS = 20
PROBABILITY = 0.002
MEBIBYTE = 2**20


def measured() -> dict[str, dict[str, float]]:
    """Score the phantoms in fp32, as in a run, and return their values by seed."""
    bundle = load_bundle("default")
    parameters = ScoringParameters.of(bundle.card)
    images = [
        read_film(
            encode_png(make_phantom(seed, rows=512, columns=512)), Settings(), parameters.rows, parameters.columns
        )
        for seed in SEEDS
    ]
    predictions = load_engine(bundle, device="cpu", precision="fp32").predict(images)
    figures = {}
    for seed, image, prediction in zip(SEEDS, images, predictions, strict=True):
        film = clean_and_measure(ImageRef(f"memory://{seed}.png", "size:0"), image, prediction, parameters)
        assert isinstance(film, ScoredFilm), film
        assert film.prediction.classes is not None
        figures[str(seed)] = {
            "lung_left_px": film.severity.left.lung_px,
            "lung_right_px": film.severity.right.lung_px,
            "infection_px": film.severity.whole.infection_px,
            **{f"p_{name}": round(value, 4) for name, value in film.prediction.classes.items()},
        }
    return figures


def test_the_default_bundle_fits_in_git() -> None:
    assert sum(map(len, load_bundle("default").files.values())) < 16 * MEBIBYTE


def test_the_card_of_the_default_bundle_states_training_data_and_metrics() -> None:
    card = load_bundle("default").card
    assert {source.dataset for source in card.training} >= {"covid-qu-ex", "phantom"}
    assert all(source.licence for source in card.training)
    assert {"covid-qu-ex", "phantom"} <= {figure.dataset for figure in card.metrics}


def test_the_default_bundle_gives_its_golden_values() -> None:
    golden = json.loads(GOLDEN.read_text())["films"]
    found = measured()
    assert found.keys() == golden.keys()
    for seed, figures in golden.items():
        for name, value in figures.items():
            tolerance = PROBABILITY if name.startswith("p_") else PIXELS
            assert found[seed][name] == pytest.approx(value, abs=tolerance), (seed, name)


def test_the_golden_values_are_those_of_this_results_version() -> None:
    assert json.loads(GOLDEN.read_text())["results_version"] == RESULTS_VERSION, "write them again: see this module"


if __name__ == "__main__":
    golden = {"results_version": RESULTS_VERSION, "films": measured()}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")
