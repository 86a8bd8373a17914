"""Measure a bundle on labelled films by the very steps that score an archive: read, predict, clean, measure.

A film that the pipeline rejects is not left out: it counts as Dice 0, as a wrong class, and as lungs not found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib import metrics
from cxrlib.datasets import LungConvention, Sample, read_mask
from cxrlib.datasets.sample import Mask
from cxrlib.errors import FilmError
from cxrlib.metrics import Estimate
from cxrlib.scoring import Recipe, assess, read_listed
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, ScoredFilm
from schemas import Card, FilmClass, LungsFound, Reason
from schemas.card import Metric

#: What runs the networks: `cxrlib.models.engine.Engine.predict`.
Predict = Callable[[Sequence[CxrImage]], list[Prediction | FilmError]]

#: Percent of the lung above which a film without infection is counted as falsely called infected.
FALSE_ALARM_PERCENT: Final = 1.0
#: Points of percent infected within which a measurement agrees with an exact truth.
AGREEMENT_POINTS: Final = 5.0

_READ_AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class FilmResult:
    """What one labelled film came to.

    Attributes
    ----------
    reason : Reason or None
        Why it was rejected; the measured fields are then None and the Dice scores 0.
    lung_dice, infection_dice : float or None
        On the truth's own grid; None where the film has no such truth (or a lung drawn by the other convention).
    """

    sample: Sample
    reason: Reason | None = None
    film_class: FilmClass | None = None
    lung_dice: float | None = None
    infection_dice: float | None = None
    lungs_found: LungsFound | None = None
    percent: float | None = None


def evaluate(
    samples: Sequence[Sample], predict: Predict, card: Card, *, progress: Callable[[int], None] = lambda _: None
) -> list[FilmResult]:
    """Score labelled films and compare each with its truth.

    Parameters
    ----------
    predict : callable
        The bundle's engine.
    card : Card
        The same bundle's card.
    progress : callable
        Told how many films were done since the last call.
    """
    results: list[FilmResult] = []
    for start in range(0, len(samples), _READ_AT_ONCE):
        part = samples[start : start + _READ_AT_ONCE]
        results.extend(_evaluate_part(part, predict, card))
        progress(len(part))
    return results


def _evaluate_part(samples: Sequence[Sample], predict: Predict, card: Card) -> Iterator[FilmResult]:
    recipe = Recipe(card.input.rows, card.input.columns, card.postprocess, card.grades)
    refs = [_reference(sample.image) for sample in samples]
    read = [read_listed(ref, Settings(), recipe) for ref in refs]
    predicted = iter(predict([film for film in read if isinstance(film, CxrImage)]))
    for sample, ref, image in zip(samples, refs, read, strict=True):
        outcome: CxrImage | Prediction | ScoredFilm | FilmError = image
        if isinstance(image, CxrImage):
            outcome = next(predicted)
            if isinstance(outcome, Prediction):
                outcome = assess(ref, image, outcome, recipe)
        yield _compare(sample, outcome) if isinstance(outcome, ScoredFilm) else _rejected(sample, outcome)


def _reference(path: Path) -> ImageRef:
    """Return what a listing would say of a film; its size is its version, since nothing else writes to it meanwhile."""
    size = path.stat().st_size
    return ImageRef(uri=str(path.resolve()), version=f"size:{size}", size=size)


def _rejected(sample: Sample, outcome: object) -> FilmResult:
    if not isinstance(outcome, FilmError):
        raise TypeError(f"expected a scored film or a FilmError; met {type(outcome).__name__}")
    return FilmResult(
        sample,
        outcome.reason,
        lung_dice=0.0 if _comparable_lung(sample) else None,
        infection_dice=None if sample.infection is None else 0.0,
    )


def _compare(sample: Sample, film: ScoredFilm) -> FilmResult:
    lung = _comparable_lung(sample)
    masks, classes = film.masks, film.prediction.classes
    return FilmResult(
        sample,
        film_class=None if classes is None else max(classes, key=lambda film_class: classes[film_class]),
        lung_dice=None if lung is None else _dice(lung, masks.lung),
        infection_dice=(
            None if sample.infection is None or masks.infection is None else _dice(sample.infection, masks.infection)
        ),
        lungs_found=masks.lungs_found,
        percent=film.severity.whole.percent,
    )


def _comparable_lung(sample: Sample) -> Mask | None:
    return sample.lung if sample.lung_convention is LungConvention.LUNG_FIELD else None


def _dice(drawn: Mask, found: NDArray[np.bool_]) -> float:
    truth = read_mask(drawn)
    if truth.shape != found.shape:
        size = (truth.shape[1], truth.shape[0])
        found = np.asarray(cv2.resize(found.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5)
    return metrics.dice(truth, found)


def summarise(results: Sequence[FilmResult]) -> list[Metric]:
    """Return the figures of every source among `results`, each with its 95 % interval; undefined ones are left out."""
    figures: list[Metric] = []
    for source in sorted({result.sample.source for result in results}):
        films = [result for result in results if result.sample.source == source]
        for name, figure in _FIGURES.items():
            estimate = figure(films)
            if estimate is not None and not math.isnan(estimate.value):
                figures.append(
                    Metric(
                        dataset=source,
                        metric=name,
                        value=round(estimate.value, 4),
                        low=round(estimate.low, 4),
                        high=round(estimate.high, 4),
                        films=estimate.n,
                    )
                )
    return figures


def _mean(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None]
    return metrics.with_interval(math.fsum(known) / len(known), len(known)) if known else None


def _lung_dice(films: Sequence[FilmResult]) -> Estimate | None:
    return _mean([film.lung_dice for film in films])


def _infection_dice(*classes: FilmClass) -> Callable[[Sequence[FilmResult]], Estimate | None]:
    def figure(films: Sequence[FilmResult]) -> Estimate | None:
        return _mean([film.infection_dice for film in films if film.sample.film_class in classes])

    return figure


def _infection_dice_balanced(films: Sequence[FilmResult]) -> Estimate | None:
    """Mean of the two classes' means, as if there were as many normal films as COVID-19 films (qu-ex Table 2)."""
    parts = [_infection_dice(of)(films) for of in (FilmClass.COVID19, FilmClass.NORMAL)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    return metrics.with_interval(sum(part.value for part in known) / len(known), sum(part.n for part in known))


def _class_accuracy(films: Sequence[FilmResult]) -> Estimate | None:
    known = [film for film in films if film.sample.film_class is not None]
    classified = any(film.film_class is not None for film in known)
    return metrics.proportion([film.film_class is film.sample.film_class for film in known]) if classified else None


def _false_alarms(films: Sequence[FilmResult]) -> Estimate | None:
    normal = [
        film for film in films if film.sample.film_class is FilmClass.NORMAL and film.sample.infection is not None
    ]
    called = [film.percent is None or film.percent > FALSE_ALARM_PERCENT for film in normal]
    return metrics.proportion(called) if called else None


def _both_lungs(films: Sequence[FilmResult]) -> Estimate | None:
    return metrics.proportion([film.lungs_found is LungsFound.BOTH for film in films]) if films else None


def _rejected_share(films: Sequence[FilmResult]) -> Estimate | None:
    return metrics.proportion([film.reason is not None for film in films]) if films else None


def _extent_rank(films: Sequence[FilmResult]) -> Estimate | None:
    scored = [film for film in films if film.sample.geographic_extent is not None]
    return _rank(scored, [film.sample.geographic_extent for film in scored])


def _percent_rank(films: Sequence[FilmResult]) -> Estimate | None:
    stated = [film for film in films if film.sample.percent_infected is not None]
    return _rank(stated, [film.sample.percent_infected for film in stated])


def _rank(films: Sequence[FilmResult], truth: Sequence[float | None]) -> Estimate | None:
    pairs = [(film.percent or 0.0, value) for film, value in zip(films, truth, strict=True) if value is not None]
    return metrics.spearman([pair[0] for pair in pairs], [pair[1] for pair in pairs]) if pairs else None


def _percent_agrees(films: Sequence[FilmResult]) -> Estimate | None:
    agrees = [
        film.percent is not None and abs(film.percent - film.sample.percent_infected) <= AGREEMENT_POINTS
        for film in films
        if film.sample.percent_infected is not None
    ]
    return metrics.proportion(agrees) if agrees else None


#: Every figure, in the order of the table. A figure is None or NaN where a source has not the labels for it.
_FIGURES: Final[dict[str, Callable[[Sequence[FilmResult]], Estimate | None]]] = {
    "lung Dice": _lung_dice,
    "infection Dice, COVID-19 films": _infection_dice(FilmClass.COVID19),
    "infection Dice, COVID-19 and Normal films": _infection_dice(FilmClass.COVID19, FilmClass.NORMAL),
    "infection Dice, COVID-19 and Normal in equal parts": _infection_dice_balanced,
    "three-class accuracy": _class_accuracy,
    "Normal films called infected (> 1 %)": _false_alarms,
    "both lungs found": _both_lungs,
    "rejected": _rejected_share,
    "Spearman, percent infected to geographic extent": _extent_rank,
    "Spearman, percent infected to percent drawn": _percent_rank,
    "percent infected within 5 points": _percent_agrees,
}
