"""Figures of the lung and infection masks: qu-ex Eq. 3 to 5, each as the mean over films and pooled over all pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np

from cxrlib.evaluation.columns import Columns, MaskColumns
from cxrlib.evaluation.figure import Figure, Section, any_of, where
from cxrlib.evaluation.statistics import PerFilm, Values, Weights, mean, ratio
from cxrlib.metrics import PixelMetric
from schemas import FilmClass

#: Dice under which a lung mask is counted as poor.
POOR_DICE: Final = 0.9

_COVID: Final = (FilmClass.COVID19,)
_COVID_AND_NORMAL: Final = (FilmClass.COVID19, FilmClass.NORMAL)


def _lung_dice(c: Columns) -> PerFilm:
    return c.lung.per_film[PixelMetric.DICE]


def lung() -> Iterator[Figure]:
    yield Figure("lung Dice", Section.LUNG, lambda c: (_lung_dice(c),), mean, on_card=True)
    yield from _mask_figures(Section.LUNG, "lung", lambda c: c.lung)
    yield Figure(
        f"lung Dice under {POOR_DICE:.2f}",
        Section.LUNG,
        lambda c: (where(~np.isnan(_lung_dice(c)), _lung_dice(c) < POOR_DICE),),
        mean,
    )


def infection() -> Iterator[Figure]:
    def of(classes: Sequence[FilmClass], metric: PixelMetric, c: Columns) -> tuple[PerFilm, ...]:
        return (where(any_of(c, classes), c.infection.per_film[metric]),)

    def in_parts(metric: PixelMetric, c: Columns) -> tuple[PerFilm, ...]:
        return (*of(_COVID_AND_NORMAL, metric, c), c.of_class(FilmClass.COVID19).astype(np.float64))

    def figure(name: str, inputs: Callable[[Columns], tuple[PerFilm, ...]], on_card: bool) -> Figure:
        statistic = _mean_of_parts if "equal parts" in name else mean
        return Figure(f"infection {name}", Section.INFECTION, inputs, statistic, on_card=on_card)

    for metric, label in ((PixelMetric.DICE, "Dice"), (PixelMetric.IOU, "IoU")):
        on_card = metric is PixelMetric.DICE
        yield figure(f"{label}, COVID-19 films", partial(of, _COVID, metric), on_card)
        yield figure(f"{label}, COVID-19 and Normal films", partial(of, _COVID_AND_NORMAL, metric), on_card)
        yield figure(f"{label}, COVID-19 and Normal in equal parts", partial(in_parts, metric), on_card)
    yield from _mask_figures(Section.INFECTION, "infection", lambda c: c.infection)


def _mean_of_parts(values: PerFilm, in_first: PerFilm, weights: Weights) -> Values:
    """Return the mean of two parts' means, as if there were as many films of each (qu-ex Table 2)."""
    return (mean(where(in_first == 1, values), weights) + mean(where(in_first == 0, values), weights)) / 2


def _mask_figures(section: Section, name: str, of: Callable[[Columns], MaskColumns]) -> Iterator[Figure]:
    """Yield every measure of a mask, as the mean over films and pooled over pixels, but for the mean Dice."""

    def per_film(metric: PixelMetric, c: Columns) -> tuple[PerFilm, ...]:
        return (of(c).per_film[metric],)

    def pooled(metric: PixelMetric, c: Columns) -> tuple[PerFilm, ...]:
        return _POOLED[metric](of(c))

    for metric in PixelMetric:
        label = f"{name} {_METRIC_NAMES[metric]}"
        if metric is not PixelMetric.DICE:
            yield Figure(label, section, partial(per_film, metric), mean)
        yield Figure(f"{label}, pooled", section, partial(pooled, metric), ratio)


_METRIC_NAMES: Final = {
    PixelMetric.DICE: "Dice",
    PixelMetric.IOU: "IoU",
    PixelMetric.SENSITIVITY: "sensitivity",
    PixelMetric.SPECIFICITY: "specificity",
    PixelMetric.PRECISION: "precision",
    PixelMetric.ACCURACY: "pixel accuracy",
}

#: Numerator and denominator of each measure, film by film, whose sums are divided.
_POOLED: Final[dict[PixelMetric, Callable[[MaskColumns], tuple[PerFilm, PerFilm]]]] = {
    PixelMetric.DICE: lambda m: (
        2 * m.true_positive,
        2 * m.true_positive + m.false_positive + m.false_negative,
    ),
    PixelMetric.IOU: lambda m: (m.true_positive, m.true_positive + m.false_positive + m.false_negative),
    PixelMetric.SENSITIVITY: lambda m: (m.true_positive, m.true_positive + m.false_negative),
    PixelMetric.SPECIFICITY: lambda m: (m.true_negative, m.true_negative + m.false_positive),
    PixelMetric.PRECISION: lambda m: (m.true_positive, m.true_positive + m.false_positive),
    PixelMetric.ACCURACY: lambda m: (
        m.true_positive + m.true_negative,
        m.true_positive + m.false_positive + m.false_negative + m.true_negative,
    ),
}
