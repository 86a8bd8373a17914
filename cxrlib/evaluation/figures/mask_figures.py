"""Figures of the lung and infection masks: qu-ex Eq. 3 to 5, as the mean over films and pooled over all pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np

from cxr_schemas import FilmClass
from cxrlib.evaluation.figures.figure import CLASS_NAMES, Figure, Section, is_any_class, where
from cxrlib.evaluation.figures.film_columns import FilmColumns, MaskColumns
from cxrlib.evaluation.figures.statistics import PerFilm, Values, Weights, mean, ratio
from cxrlib.measuring.metrics import PixelMetric

#: A lung mask with a Dice below this counts as poor.
POOR_DICE: Final = 0.9

_COVID_AND_NORMAL: Final = (FilmClass.COVID19, FilmClass.NORMAL)


def _lung_dice(c: FilmColumns) -> PerFilm:
    return c.lung.per_film[PixelMetric.DICE]


def lung_mask_figures() -> Iterator[Figure]:
    """Yield the figures of the lung mask."""
    yield Figure("lung Dice", Section.LUNG, lambda c: (_lung_dice(c),), mean, on_card=True)
    for film_class, name in CLASS_NAMES.items():
        yield Figure(
            f"lung Dice, {name} films",
            Section.LUNG,
            partial(_of_classes, (film_class,), _lung_dice),
            mean,
            film_class=film_class,
        )
    yield from _mask_figures(Section.LUNG, "lung", lambda c: c.lung)
    yield Figure(
        f"lung Dice under {POOR_DICE:.2f}",
        Section.LUNG,
        lambda c: (where(~np.isnan(_lung_dice(c)), _lung_dice(c) < POOR_DICE),),
        mean,
    )


def infection_mask_figures() -> Iterator[Figure]:
    """Yield the figures of the infection mask."""

    def in_equal_parts(get: Callable[[FilmColumns], PerFilm], c: FilmColumns) -> tuple[PerFilm, ...]:
        return (*_of_classes(_COVID_AND_NORMAL, get, c), c.is_class(FilmClass.COVID19).astype(np.float64))

    figure = partial(Figure, section=Section.INFECTION)
    for metric in (PixelMetric.DICE, PixelMetric.IOU):
        get = partial(_infection_metric, metric)
        label, on_card = f"infection {_METRIC_NAMES[metric]}", metric is PixelMetric.DICE
        for film_class, name in CLASS_NAMES.items():
            yield figure(
                f"{label}, {name} films",
                inputs=partial(_of_classes, (film_class,), get),
                statistic=mean,
                on_card=on_card and film_class is FilmClass.COVID19,
                film_class=film_class,
            )
        yield figure(
            f"{label}, COVID-19 and Normal films",
            inputs=partial(_of_classes, _COVID_AND_NORMAL, get),
            statistic=mean,
            on_card=on_card,
        )
        yield figure(
            f"{label}, COVID-19 and Normal in equal parts",
            inputs=partial(in_equal_parts, get),
            statistic=_mean_of_parts,
            on_card=on_card,
        )
    yield from _mask_figures(Section.INFECTION, "infection", lambda c: c.infection)


def _infection_metric(metric: PixelMetric, c: FilmColumns) -> PerFilm:
    return c.infection.per_film[metric]


def _of_classes(
    classes: Sequence[FilmClass], get: Callable[[FilmColumns], PerFilm], c: FilmColumns
) -> tuple[PerFilm, ...]:
    return (where(is_any_class(c, classes), get(c)),)


def _mean_of_parts(values: PerFilm, in_first: PerFilm, weights: Weights) -> Values:
    """Return the mean of the two classes' means, as if both had the same number of films (qu-ex Table 2)."""
    return (mean(where(in_first == 1, values), weights) + mean(where(in_first == 0, values), weights)) / 2


def _mask_figures(section: Section, name: str, columns_of: Callable[[FilmColumns], MaskColumns]) -> Iterator[Figure]:
    """Yield every metric of a mask, as the mean over films and pooled over pixels, except the mean Dice."""

    def per_film(metric: PixelMetric, c: FilmColumns) -> tuple[PerFilm, ...]:
        return (columns_of(c).per_film[metric],)

    def pooled(metric: PixelMetric, c: FilmColumns) -> tuple[PerFilm, ...]:
        return _POOLED[metric](columns_of(c))

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

#: Numerator and denominator of each metric per film; a pooled figure divides their sums.
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
