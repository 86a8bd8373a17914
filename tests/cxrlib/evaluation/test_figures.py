"""Figures of merit of made-up films, compared with scikit-learn and with manual results, and their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as sk

from cxr_schemas import Card, FilmClass, LungsFound, Reason
from cxrlib.datasets import Sample, Split
from cxrlib.evaluation import FilmResult, MeasuredFigure, card_metrics, measure_figures
from cxrlib.evaluation.figures.catalog import figures_for, not_measured
from cxrlib.evaluation.film_results import Truth
from cxrlib.measuring.metrics import PixelCounts
from tests.support.tiny_bundles import tiny_card

CLASSES = tuple(FilmClass)


def film(number: int, generator: np.random.Generator, *, group: int | None = None) -> FilmResult:
    """Return a film of a random class with random findings and complete labels."""
    true = CLASSES[int(generator.integers(3))]
    probabilities = generator.dirichlet([0.5, 0.5, 0.5])
    probabilities[CLASSES.index(true)] += 0.4
    probabilities /= probabilities.sum()
    percent = float(generator.uniform(0, 60)) if true is FilmClass.COVID19 else 0.0
    found = float(np.clip(percent + generator.normal(2, 5), 0, 100)) if generator.random() < 0.8 else 0.0
    lung, infection = generator.integers(1, 100, (2, 4))
    return FilmResult(
        sample=Sample(Path(f"{number}.png"), "made-up", f"g{number if group is None else group}", Split.TEST, true),
        truth=Truth(lung_px=100, infection_px=50, infected=percent > 0, percent=percent),
        probabilities=dict(zip(CLASSES, probabilities.tolist(), strict=True)),
        lung=PixelCounts(*(int(count) for count in lung)),
        infection=PixelCounts(*(int(count) for count in infection)),
        lungs_found=LungsFound.BOTH,
        percent=found,
    )


def films(count: int, *, groups: int | None = None, seed: int = 5) -> list[FilmResult]:
    generator = np.random.default_rng(seed)
    return [film(n, generator, group=None if groups is None else n % groups) for n in range(count)]


def rejected(result: FilmResult) -> FilmResult:
    return dataclasses.replace(result, reason=Reason.NO_LUNG, probabilities=None, lungs_found=None, percent=None)


def by_name(results: Sequence[FilmResult], card: Card | None = None, resamples: int = 0) -> dict[str, MeasuredFigure]:
    return {item.figure.name: item for item in measure_figures(results, card or tiny_card(), resamples=resamples)}


def without(output: str) -> Card:
    card = tiny_card()
    (network,) = card.networks
    outputs = tuple(name for name in network.outputs if name != output)
    classes = card.classes if output != "classes" else ()
    networks = (network.model_copy(update={"outputs": outputs}),)
    return card.model_copy(update={"networks": networks, "classes": classes})


def test_class_figures_match_scikit_learn() -> None:
    results = films(200)
    true = [result.sample.film_class for result in results]
    called = [result.film_class for result in results]
    found = by_name(results)
    assert found["three-class accuracy"].value == pytest.approx(sk.accuracy_score(true, called))
    precision, sensitivity, f1, _ = sk.precision_recall_fscore_support(true, called, labels=list(FilmClass))
    probabilities = np.array([[result.probabilities[c] for c in CLASSES] for result in results if result.probabilities])
    names = ("COVID-19", "pneumonia", "Normal")
    for number, name in enumerate(names):
        assert found[f"class precision, {name}"].value == pytest.approx(precision[number])
        assert found[f"class sensitivity, {name}"].value == pytest.approx(sensitivity[number])
        assert found[f"class F1, {name}"].value == pytest.approx(f1[number])
        of_class = [t is CLASSES[number] for t in true]
        not_called = [c is not CLASSES[number] for c in called]
        specificity = sk.recall_score([not t for t in of_class], not_called)
        assert found[f"class specificity, {name}"].value == pytest.approx(specificity)
        assert found[f"class ROC AUC, {name}"].value == pytest.approx(
            sk.roc_auc_score(of_class, probabilities[:, number])
        )
    labels = [CLASSES.index(t) for t in true if t]
    assert found["class ROC AUC, macro"].value == pytest.approx(
        sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    )
    assert found["class F1, macro"].value == pytest.approx(f1.mean())


def test_share_counts_only_the_films_in_its_denominator() -> None:
    results = [*films(120), *map(rejected, films(6, seed=9))]
    found = by_name(results)
    true = [result.sample.film_class for result in results]
    called = [result.film_class for result in results]
    for film_class, name in zip(CLASSES, ("COVID-19", "pneumonia", "Normal"), strict=True):
        assert found[f"class sensitivity, {name}"].films == true.count(film_class)
        assert found[f"class specificity, {name}"].films == len(true) - true.count(film_class)
        assert found[f"class precision, {name}"].films == called.count(film_class)
    covid = found["class sensitivity, COVID-19"]
    assert covid.interval is not None
    reach = 1.96 * np.sqrt(covid.value * (1 - covid.value) / true.count(FilmClass.COVID19))
    assert covid.interval.high - covid.value == pytest.approx(reach)
    detected = [result for result in results if result.percent]
    assert found["infection detected, precision"].films == len(detected)


def test_detection_figures_match_scikit_learn() -> None:
    results = films(150)
    truth = [result.truth.infected for result in results]
    called = [result.percent is not None and result.percent > 0 for result in results]
    found = by_name(results)
    assert found["infection detected, sensitivity"].value == pytest.approx(sk.recall_score(truth, called))
    assert found["infection detected, precision"].value == pytest.approx(sk.precision_score(truth, called))
    assert found["infection detected, F1"].value == pytest.approx(sk.f1_score(truth, called))
    assert found["infection detected, accuracy"].value == pytest.approx(sk.accuracy_score(truth, called))
    specificity = sk.recall_score([not t for t in truth], [not c for c in called])
    assert found["infection detected, specificity"].value == pytest.approx(specificity)
    assert found["infection detected, sensitivity"].films == sum(bool(t) for t in truth)


def test_rejected_film_is_neither_called_infected_nor_clear_and_has_no_class() -> None:
    results = films(90)
    worse = [*map(rejected, results[:30]), *results[30:]]
    whole, found = by_name(results), by_name(worse)
    for name in ("sensitivity", "specificity", "accuracy"):
        assert found[f"infection detected, {name}"].films == whole[f"infection detected, {name}"].films
    right = sum(result.film_class is result.sample.film_class for result in results[30:])
    assert found["three-class accuracy"].value == pytest.approx(right / 90)
    assert found["class specificity, Normal"].value < 1
    assert found["rejected"].value == pytest.approx(1 / 3)
    assert found["lung Dice"].films == 90
    assert found["class ROC AUC, macro"].films == found["limit of agreement, lower"].films == 60


def test_mean_over_films_and_pooled_pixels_differ() -> None:
    large, small = films(2)
    large = dataclasses.replace(large, lung=PixelCounts(900, 100, 0, 0))
    small = dataclasses.replace(small, lung=PixelCounts(1, 0, 9, 0))
    found = by_name([large, small])
    assert found["lung sensitivity"].value == pytest.approx((1 + 0.1) / 2)
    assert found["lung sensitivity, pooled"].value == pytest.approx(901 / 910)
    assert found["lung Dice, pooled"].value == pytest.approx(1802 / (1802 + 100 + 9))


def test_agreement_follows_bland_and_altman() -> None:
    results = films(80)
    known = [(result.percent or 0, result.truth.percent or 0) for result in results]
    differences = np.array([a - b for a, b in known])
    found = by_name(results)
    bias = found["percent infected over percent drawn, mean"]
    assert bias.value == pytest.approx(differences.mean())
    assert bias.interval is not None
    error = differences.std(ddof=1) / np.sqrt(80)
    assert bias.interval.high - bias.value == pytest.approx(1.990 * error, rel=1e-3)
    upper = found["limit of agreement, upper"]
    assert upper.value == pytest.approx(differences.mean() + 1.96 * differences.std(ddof=1))
    assert upper.interval is not None
    assert upper.interval.high - upper.value == pytest.approx(1.71 * 1.990 * error, rel=0.01)


def test_infection_iou_of_percents_is_the_smaller_over_the_larger_percent() -> None:
    a, b, c, d = films(4)
    percents = ((a, 20.0, 40.0), (b, 0.0, 0.0), (c, 0.0, 30.0))
    results = [
        dataclasses.replace(result, percent=found, truth=dataclasses.replace(result.truth, percent=true))
        for result, found, true in percents
    ]
    assert by_name([*results, rejected(d)])["infection IoU of percents"].value == pytest.approx((0.5 + 1 + 0 + 0) / 4)


def test_figures_of_missing_outputs_are_left_out_and_listed() -> None:
    results = [
        dataclasses.replace(result, probabilities=None, infection=None, percent=None)
        for result in map(rejected, films(9))
    ]
    bare = without("classes").model_copy(
        update={"networks": (without("classes").networks[0].model_copy(update={"outputs": ("lung",)}),)}
    )
    assert {name.split()[0] for name in by_name(results, bare)} == {"lung", "both", "rejected"}
    assert len(not_measured(bare)) == 2
    assert not not_measured(tiny_card())
    no_infection = {figure.name for figure in figures_for(without("infection"))}
    assert "three-class accuracy" in no_infection
    assert not any("infect" in name for name in no_infection)
    no_classes = {figure.name for figure in figures_for(without("classes"))}
    assert "infection Dice, COVID-19 films" in no_classes
    assert not any(name.startswith("class ") or "accuracy" in name.split("-") for name in no_classes)


def test_figures_of_a_class_without_films_are_left_out() -> None:
    results = [result for result in films(60) if result.sample.film_class is not FilmClass.COVID19]
    found = by_name(results)
    assert "class ROC AUC, macro" not in found
    assert "class sensitivity, COVID-19" not in found
    assert "class F1, COVID-19" not in found
    assert "class ROC AUC, Normal" in found


def test_bootstrap_interval_is_wider_with_few_groups() -> None:
    generator = np.random.default_rng(3)
    own = {n: film(n, generator).lung for n in range(12)}
    alike = [dataclasses.replace(result, lung=own[n % 12]) for n, result in enumerate(films(240, groups=12))]
    grouped = by_name(alike, resamples=400)["lung Dice"]
    apart = [
        dataclasses.replace(result, sample=dataclasses.replace(result.sample, group=str(n)))
        for n, result in enumerate(alike)
    ]
    free = by_name(apart, resamples=400)["lung Dice"]
    assert grouped.value == free.value
    assert grouped.bootstrap is not None
    assert free.bootstrap is not None
    assert grouped.bootstrap.high - grouped.bootstrap.low > 3 * (free.bootstrap.high - free.bootstrap.low)
    assert (grouped.groups, free.groups, free.films) == (12, 240, 240)


def test_every_bootstrap_interval_is_near_the_value_and_reproducible() -> None:
    results = films(150, groups=50)
    first, again = by_name(results, resamples=200), by_name(results, resamples=200)
    for name, item in first.items():
        assert item.bootstrap == again[name].bootstrap
        assert item.bootstrap is not None
        width = item.bootstrap.high - item.bootstrap.low
        assert item.bootstrap.low - width <= item.value <= item.bootstrap.high + width, name


def test_one_group_gives_no_bootstrap() -> None:
    assert all(item.bootstrap is None for item in by_name(films(20, groups=1), resamples=50).values())


def test_card_gets_few_figures_with_closed_form_intervals() -> None:
    measured = measure_figures(films(60), tiny_card(), resamples=0)
    card = {metric.metric: metric for metric in card_metrics(measured)}
    assert len(card) < 20 < len(measured)
    assert "class calibration error" not in card
    dice = card["lung Dice"]
    reach = 1.96 * (dice.value * (1 - dice.value) / 60) ** 0.5
    assert (dice.low, dice.high) == pytest.approx((dice.value - reach, dice.value + reach), abs=2e-4)
