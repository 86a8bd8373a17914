"""Evaluation of labelled films: figures follow from the predictions, and a rejected film counts against the bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr_schemas import FilmClass, Reason
from cxr_schemas.card import Metric
from cxrlib.datasets import LungConvention, Sample, read_dataset
from cxrlib.errors import FilmError
from cxrlib.evaluation import card_metrics, evaluate, measure_figures
from cxrlib.types import CxrImage, Prediction
from tests.support.tiny_bundles import tiny_card

SIDE = 256
LUNG = np.zeros((SIDE, SIDE), dtype=np.uint8)
LUNG[40:208, 32:108] = LUNG[40:208, 148:224] = 255
INFECTION = np.zeros((SIDE, SIDE), dtype=np.uint8)
INFECTION[148:208, 32:108] = 255

Outcome = Prediction | FilmError


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Six films: three of COVID-19 with a known infection, three normal films without infection."""
    rows = ["id,image,mask,infection_mask,class_label,mask_convention,group,split,pct_infected,geographic_extent_0_8"]
    for name, mask in (("lung", LUNG), ("infection", INFECTION), ("none", np.zeros_like(LUNG))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    for number in range(6):
        generator = np.random.default_rng(number)
        film = np.where(LUNG > 0, 60, 170) + generator.integers(0, 50, LUNG.shape)
        cv2.imwrite(str(tmp_path / f"film{number}.png"), film.astype(np.uint8))
        infected = number < 3
        mask = "infection" if infected else "none"
        label = "covid" if infected else "normal"
        percent = 100 * 60 / 336 if infected else 0
        extent = number + 2 if infected else 0
        rows.append(f"s_{number},film{number}.png,lung.png,{mask}.png,{label},without heart,g,test,{percent},{extent}")
    (tmp_path / "index.csv").write_text("\n".join(rows))
    return read_dataset(tmp_path)


def truth(infected: bool) -> Prediction:
    shrink = {"dsize": (64, 64), "interpolation": cv2.INTER_AREA}
    lung = cv2.resize(LUNG.astype(np.float32) / 255, **shrink)  # type: ignore[call-overload]
    infection = cv2.resize(INFECTION.astype(np.float32) / 255 * infected, **shrink)  # type: ignore[call-overload]
    covid = 0.8 if infected else 0.1
    classes = {FilmClass.COVID19: covid, FilmClass.PNEUMONIA: 0.05, FilmClass.NORMAL: 0.95 - covid}
    return Prediction(lung=lung, infection=infection, classes=classes, precision="fp32")


def figures(samples: Sequence[Sample], outcome_of: Callable[[int], Outcome]) -> dict[str, Metric]:
    def predict(images: Sequence[CxrImage]) -> list[Outcome]:
        return [outcome_of(number) for number in range(len(images))]

    results = evaluate(samples, predict, tiny_card())
    return {figure.metric: figure for figure in card_metrics(measure_figures(results, tiny_card(), resamples=0))}


def test_perfect_predictions_give_perfect_figures(samples: list[Sample]) -> None:
    found = figures(samples, lambda number: truth(number < 3))
    assert found["lung Dice"].value > 0.97
    assert found["infection Dice, COVID-19 films"].value > 0.97
    assert found["infection Dice, COVID-19 films"].films == 3
    assert found["three-class accuracy"].value == 1
    assert found["Normal films called infected (> 1 %)"].value == 0
    assert found["both lungs found"].value == 1
    assert found["percent infected within 5 points"].value == 1
    assert found["rejected"].value == 0


def test_calling_every_film_infected_lowers_the_figures(samples: list[Sample]) -> None:
    found = figures(samples, lambda _: truth(True))
    assert found["Normal films called infected (> 1 %)"].value == 1
    assert found["three-class accuracy"].value == 0.5
    covid = found["infection Dice, COVID-19 films"].value
    assert found["infection Dice, COVID-19 and Normal films"].value == pytest.approx(covid / 2, abs=1e-3)


def test_rejected_film_counts_against_the_bundle(samples: list[Sample]) -> None:
    def outcome_of(number: int) -> Outcome:
        if number == 0:
            return FilmError(Reason.MODEL_FAILED, expected="numbers", got="NaN")
        return truth(number < 3)

    whole = figures(samples, lambda number: truth(number < 3))
    found = figures(samples, outcome_of)
    assert found["lung Dice"].value == pytest.approx(whole["lung Dice"].value * 5 / 6, abs=1e-3)
    assert found["infection Dice, COVID-19 films"].films == 3
    assert found["three-class accuracy"].value == pytest.approx(5 / 6, abs=1e-4)
    assert found["both lungs found"].value == pytest.approx(5 / 6, abs=1e-4)
    assert found["rejected"].value == pytest.approx(1 / 6, abs=1e-4)


def test_film_without_a_lung_is_rejected(samples: list[Sample]) -> None:
    def outcome_of(number: int) -> Outcome:
        nothing = np.zeros((64, 64), dtype=np.float32)
        return Prediction(nothing, nothing, truth(False).classes, "fp32") if number == 5 else truth(number < 3)

    assert figures(samples, outcome_of)["rejected"].value == pytest.approx(1 / 6, abs=1e-4)


def test_true_percent_comes_from_the_masks_if_the_data_set_has_none(samples: list[Sample]) -> None:
    unstated = [dataclasses.replace(sample, percent_infected=None) for sample in samples]
    found = evaluate(unstated, lambda images: [truth(n < 3) for n in range(len(images))], tiny_card())
    assert [film.truth.percent for film in found] == pytest.approx([100 * 60 / 336] * 3 + [0] * 3)
    assert [film.truth.infected for film in found] == [True] * 3 + [False] * 3


def test_lung_drawn_with_the_heart_is_not_compared(samples: list[Sample]) -> None:
    other = [dataclasses.replace(sample, lung_convention=LungConvention.WITH_HEART) for sample in samples]
    assert "lung Dice" not in figures(other, lambda number: truth(number < 3))


def test_interval_of_a_share_is_qu_ex_equation_2(samples: list[Sample]) -> None:
    found = figures(samples, lambda _: truth(True))["three-class accuracy"]
    reach = 1.96 * (0.5 * 0.5 / 6) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=1e-3)
