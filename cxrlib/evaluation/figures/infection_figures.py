"""Figures of infection per film: infected or not, and percent infected against the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np

from cxr_schemas import FilmClass
from cxrlib.evaluation.figures import intervals
from cxrlib.evaluation.figures.figure import Figure, Section, Unit, where
from cxrlib.evaluation.figures.film_columns import FilmColumns
from cxrlib.evaluation.figures.statistics import PerFilm, Values, limit_of_agreement, mean, rank_correlation, ratio

#: A film without infection counts as a false alarm above this percent infected.
FALSE_ALARM_PERCENT: Final = 1.0
#: A measurement agrees with the truth within this many points of percent infected.
AGREEMENT_POINTS: Final = 5.0


def detection_figures() -> Iterator[Figure]:
    """Yield qu-ex Eq. 6 to 9 for infected (any infected pixel is left) or not, on films with annotated infection.

    The paper counts the Non-COVID films of COVID-QU-Ex as negatives. Their infection was never annotated, so they are
    left out here.
    """

    def sensitivity(c: FilmColumns) -> PerFilm:
        return where(c.truly_infected == 1, c.called_infected == 1)

    def specificity(c: FilmColumns) -> PerFilm:
        return where(c.truly_infected == 0, c.called_infected == 0)

    def accuracy(c: FilmColumns) -> PerFilm:
        return where(~np.isnan(c.truly_infected), c.called_infected == c.truly_infected)

    def true_positive(c: FilmColumns) -> PerFilm:
        return where(~np.isnan(c.truly_infected), (c.called_infected == 1) & (c.truly_infected == 1))

    def precision(c: FilmColumns) -> PerFilm:
        return where((c.called_infected == 1) & ~np.isnan(c.truly_infected), c.truly_infected)

    def called(c: FilmColumns) -> PerFilm:
        return where(~np.isnan(c.truly_infected), c.called_infected == 1)

    def figure(
        name: str, statistic: Callable[..., Values], *inputs: Callable[[FilmColumns], PerFilm], on_card: bool = False
    ) -> Figure:
        return Figure(
            f"infection detected, {name}",
            Section.DETECTION,
            lambda c: tuple(get(c) for get in inputs),
            statistic,
            on_card=on_card,
        )

    yield figure("sensitivity", mean, sensitivity, on_card=True)
    yield figure("specificity", mean, specificity, on_card=True)
    yield figure("precision", mean, precision)
    yield figure("F1", ratio, lambda c: 2 * true_positive(c), lambda c: called(c) + (c.truly_infected == 1))
    yield figure("accuracy", mean, accuracy)


def _false_alarm(c: FilmColumns) -> PerFilm:
    clear = c.is_class(FilmClass.NORMAL) & ~np.isnan(c.infection.true_positive)
    return where(clear, np.isnan(c.percent) | (c.percent > FALSE_ALARM_PERCENT))


#: Share of Normal films (with an infection mask) that are called infected. A rejected film counts as called infected.
FALSE_ALARMS: Final = Figure(
    "Normal films called infected (> 1 %)", Section.DETECTION, lambda c: (_false_alarm(c),), mean, on_card=True
)


def percent_figures() -> Iterator[Figure]:
    """Yield the agreement of measured and true percent, and rank correlations. A rejected film ranks as 0 %."""

    def measured(c: FilmColumns) -> PerFilm:
        return np.nan_to_num(c.percent, nan=0.0)

    def difference(c: FilmColumns) -> tuple[PerFilm, ...]:
        return (c.percent - c.true_percent,)

    def agrees(c: FilmColumns) -> PerFilm:
        return where(~np.isnan(c.true_percent), np.abs(c.percent - c.true_percent) <= AGREEMENT_POINTS)

    rank = partial(
        Figure,
        section=Section.PERCENT,
        statistic=rank_correlation,
        interval=intervals.rank_correlation_interval,
        unit=Unit.CORRELATION,
        on_card=True,
    )
    points = partial(Figure, section=Section.PERCENT, inputs=difference, unit=Unit.POINTS)
    yield rank("Spearman, percent infected to geographic extent", inputs=lambda c: (measured(c), c.extent))
    yield rank("Spearman, percent infected to percent drawn", inputs=lambda c: (measured(c), c.true_percent))
    yield Figure("percent infected within 5 points", Section.PERCENT, lambda c: (agrees(c),), mean, on_card=True)
    yield points(
        "percent infected over percent drawn, mean", statistic=mean, interval=intervals.mean_interval, on_card=True
    )
    yield points(
        "limit of agreement, lower", statistic=partial(limit_of_agreement, side=-1), interval=intervals.limit_interval
    )
    yield points(
        "limit of agreement, upper", statistic=partial(limit_of_agreement, side=1), interval=intervals.limit_interval
    )
    yield points(
        "percent infected, mean absolute error",
        inputs=lambda c: (np.abs(c.percent - c.true_percent),),
        statistic=mean,
        interval=intervals.mean_interval,
    )
    yield Figure("infection IoU of percents", Section.PERCENT, lambda c: (_iou_of_percents(c),), mean)


def _iou_of_percents(c: FilmColumns) -> PerFilm:
    """Return inflocnet's infection IoU (Eq. 1), which compares two areas and not two masks.

    Its Eq. 2 and 3 reduce each area to the infected share of its own lung (Eq. 2 lacks the factor 100 % of Eq. 3). The
    intersection of two numbers is the smaller, the union the larger. The result is 1 if both are 0, and ignores where
    the infection is: read it together with the Dice.
    """
    smaller, larger = np.minimum(c.percent, c.true_percent), np.maximum(c.percent, c.true_percent)
    shares = np.divide(smaller, larger, out=np.ones(len(smaller)), where=larger > 0)
    return where(~np.isnan(c.true_percent), np.where(np.isnan(c.percent), 0.0, shares))
