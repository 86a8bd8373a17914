"""The tables of a report: each cell holds a figure as text, its interval and its number of films."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from cxrlib.evaluation.figures.figure import CLASS_NAMES, Figure, Section, Unit
from cxrlib.evaluation.figures.film_columns import FilmColumns
from cxrlib.evaluation.figures.intervals import Interval
from cxrlib.evaluation.measured_figures import MeasuredFigure


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: `value` in large type, the lines of `below` in small type under it, and a tooltip."""

    value: str
    below: tuple[str, ...] = ()
    tooltip: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a header, and rows of a name and cells. A cell is None if its figure is not defined."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]


#: Figures of the overview table, with their column headers.
_OVERVIEW: Final = {
    "lung Dice": "lung Dice",
    "infection Dice, COVID-19 films": "infection Dice (COVID-19)",
    "infection detected, sensitivity": "infection detected: sensitivity",
    "infection detected, specificity": "specificity",
    "percent infected over percent drawn, mean": "percent, measured - drawn",
    "percent infected within 5 points": "percent within 5 points",
    "three-class accuracy": "class accuracy",
    "two-class accuracy": "class accuracy (2)",
    "class ROC AUC, macro": "class ROC area",
    "class calibration error": "calibration error",
    "both lungs found": "both lungs found",
    "rejected": "rejected",
}

#: Figures of the table by class, with their column headers.
_BY_CLASS: Final = {
    "class sensitivity": "sensitivity",
    "class specificity": "specificity",
    "class precision": "precision",
    "class F1": "F1",
    "class ROC AUC": "ROC area",
    "lung Dice": "lung Dice",
    "infection Dice": "infection Dice",
}


def source_table(sources: Mapping[str, FilmColumns]) -> Table:
    """Return the number of films with each label, one row per source. Lungs drawn with the heart do not count."""
    head = ("source", "films", "groups", *CLASS_NAMES.values(), "lung drawn", "infection drawn", "percent", "extent")
    rows = []
    for source, c in sources.items():
        counts = (
            len(c.films),
            int(c.groups.max()) + 1,
            *(np.count_nonzero(c.is_class(film_class)) for film_class in CLASS_NAMES),
            sum(film.truth.lung_px is not None for film in c.films),
            sum(film.truth.infection_px is not None for film in c.films),
            np.count_nonzero(~np.isnan(c.true_percent)),
            np.count_nonzero(~np.isnan(c.extent)),
        )
        rows.append((source, tuple(Cell(f"{count:,}") if count else None for count in counts)))
    return Table(head, tuple(rows))


def overview_table(measured: Sequence[MeasuredFigure], sources: Mapping[str, FilmColumns]) -> Table:
    """Return the most important figures with their bootstrap intervals, one row per source."""
    found = {(item.source, item.figure.name): item for item in measured}
    names = [name for name in _OVERVIEW if any(item.figure.name == name for item in measured)]
    rows = []
    for source, columns in sources.items():
        films = Cell(f"{len(columns.films):,}", (f"{int(columns.groups.max()) + 1:,} groups",))
        cells = tuple(_brief(found.get((source, name)), len(columns.films)) for name in names)
        rows.append((source, (films, *cells)))
    return Table(("source", "films", *(_OVERVIEW[name] for name in names)), tuple(rows))


def class_table(measured: Sequence[MeasuredFigure], sources: Mapping[str, FilmColumns]) -> Table:
    """Return the class figures, one row per source and class. Sources with a single class are left out."""
    found = {(item.source, item.figure.name): item for item in measured}
    rows = []
    for source, columns in sources.items():
        if np.unique(columns.true_class[columns.true_class >= 0]).size < 2:
            continue
        for film_class, name in CLASS_NAMES.items():
            films = columns.is_class(film_class)
            if not films.any():
                continue
            percent = columns.percent[films][~np.isnan(columns.percent[films])]
            items = [found.get((source, _class_figure_name(figure, name))) for figure in _BY_CLASS]
            cells = [None if item is None else _brief(item, item.films) for item in items]
            median = Cell(f"{np.median(percent):.1f}") if percent.size else None
            rows.append((f"{source}: {name}", (Cell(f"{int(films.sum()):,}"), *cells, median)))
    head = ("source: class", "films", *_BY_CLASS.values(), "median percent measured")
    return Table(head, tuple(rows))


def _class_figure_name(figure: str, name: str) -> str:
    return f"{figure}, {name}" if figure.startswith("class") else f"{figure}, {name} films"


def section_table(measured: Sequence[MeasuredFigure], figures: Sequence[Figure], section: Section) -> Table:
    """Return all figures of a section that any source has, one row per figure and one column per source."""
    items = [item for item in measured if item.figure.section is section]
    sources = sorted({item.source for item in items})
    found = {(item.source, item.figure.name): item for item in items}
    names = [figure.name for figure in figures if any((source, figure.name) in found for source in sources)]
    rows = tuple((name, tuple(_full(found.get((source, name))) for source in sources)) for name in names)
    return Table(("figure", *sources), rows)


def _brief(item: MeasuredFigure | None, films: int) -> Cell | None:
    """Return a figure with one interval, and its number of films if it differs from `films`."""
    if item is None:
        return None
    interval = item.bootstrap or item.interval
    below = () if interval is None else (_range(interval, item.figure.unit),)
    if item.films != films:
        below = (*below, f"{item.films:,} film{'s' * (item.films > 1)}")
    return Cell(_number(item.value, item.figure.unit), below, _film_count(item))


def _full(item: MeasuredFigure | None) -> Cell | None:
    if item is None:
        return None
    unit = item.figure.unit
    ranges = [(item.interval, ""), (item.bootstrap, " b")]
    below = [f"{_range(interval, unit)}{mark}" for interval, mark in ranges if interval is not None]
    return Cell(_number(item.value, unit), (*below, f"n {item.films:,} / {item.groups:,}"))


def _film_count(item: MeasuredFigure) -> str:
    return f"{item.films:,} films in {item.groups:,} groups"


def _range(interval: Interval, unit: Unit) -> str:
    if math.isnan(interval.low):
        return "not known"
    return f"{_number(interval.low, unit)} to {_number(interval.high, unit)}"


def _number(value: float, unit: Unit) -> str:
    return f"{value:+.1f}" if unit is Unit.POINTS else f"{value:.3f}"
