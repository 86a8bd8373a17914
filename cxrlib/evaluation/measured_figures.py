"""Compute every figure of merit for the films of each source, with its two 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cxr_schemas import Card
from cxr_schemas.card import Metric
from cxrlib.evaluation.figures.catalog import figures_for
from cxrlib.evaluation.figures.figure import Figure
from cxrlib.evaluation.figures.film_columns import FilmColumns, to_columns
from cxrlib.evaluation.figures.intervals import Interval, bootstrap_interval
from cxrlib.evaluation.figures.statistics import Weights, group_weights
from cxrlib.evaluation.film_results import FilmResult

#: Resamples of a bootstrap. With so many, the ends of the interval vary by about a twentieth of its width.
RESAMPLES: Final = 1000
#: Seed of every bootstrap: the same films give the same interval.
SEED: Final = 2021


@dataclass(frozen=True, slots=True)
class MeasuredFigure:
    """One figure of one source.

    Attributes
    ----------
    source : str
    figure : Figure
    value : float
    interval : Interval or None
        In closed form: qu-ex Eq. 2 for shares, Fisher's for rank correlations, Bland and Altman's for differences.
    bootstrap : Interval or None
        From resampled groups. None with a single group, or if no bootstrap was asked for.
    films, groups : int
        Number of films and groups that the figure is computed from.
    """

    source: str
    figure: Figure
    value: float
    interval: Interval | None
    bootstrap: Interval | None
    films: int
    groups: int


def columns_by_source(results: Sequence[FilmResult]) -> dict[str, FilmColumns]:
    """Return the films of each source as arrays, in order of source name."""
    sources = sorted({result.sample.source for result in results})
    return {name: to_columns([result for result in results if result.sample.source == name]) for name in sources}


def measure_figures(results: Sequence[FilmResult], card: Card, *, resamples: int = RESAMPLES) -> list[MeasuredFigure]:
    """Return every figure of every source, ordered by source and then as in the tables. Undefined figures are left out.

    Parameters
    ----------
    results : sequence of FilmResult
    card : Card
        Card of the bundle that scored the films.
    resamples : int
        Resamples of the group bootstrap; 0 computes no bootstrap interval.
    """
    found = []
    for source, columns in columns_by_source(results).items():
        weights = group_weights(columns.groups, resamples, SEED) if resamples and columns.groups.max() > 0 else None
        for figure in figures_for(card):
            measured = _measure(source, figure, columns, weights)
            if measured is not None:
                found.append(measured)
    return found


def _measure(source: str, figure: Figure, columns: FilmColumns, weights: Weights | None) -> MeasuredFigure | None:
    inputs = figure.inputs(columns)
    counted = ~np.logical_or.reduce([np.isnan(values) for values in inputs])
    known = tuple(values[counted] for values in inputs)
    n = int(counted.sum())
    value = float(figure.statistic(*known, np.ones((1, n)))[0]) if n else math.nan
    if math.isnan(value):
        return None
    groups = np.unique(columns.groups[counted]).size
    resampled = None if weights is None or groups < 2 else figure.statistic(*known, weights[:, counted])
    return MeasuredFigure(
        source=source,
        figure=figure,
        value=value,
        interval=None if figure.interval is None else figure.interval(value, known),
        bootstrap=None if resampled is None else bootstrap_interval(resampled),
        films=n,
        groups=groups,
    )


def card_metrics(measured: Sequence[MeasuredFigure]) -> list[Metric]:
    """Return the figures for the bundle's card, with their closed-form intervals, rounded to four decimals."""
    return [
        Metric(
            dataset=item.source,
            metric=item.figure.name,
            value=round(item.value, 4),
            low=round(item.interval.low, 4),
            high=round(item.interval.high, 4),
            films=item.films,
        )
        for item in measured
        if item.figure.on_card and item.interval is not None
    ]
