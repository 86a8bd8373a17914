"""The definition of a figure of merit: its input values, its statistic and its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxrlib.evaluation.figures import intervals
from cxrlib.evaluation.figures.film_columns import CLASSES, FilmColumns
from cxrlib.evaluation.figures.intervals import ClosedForm
from cxrlib.evaluation.figures.statistics import PerFilm, Values

#: Display names of the classes in figures and reports.
CLASS_NAMES: Final = {FilmClass.COVID19: "COVID-19", FilmClass.PNEUMONIA: "pneumonia", FilmClass.NORMAL: "Normal"}


class Section(StrEnum):
    """Section of the report that shows a figure."""

    FILMS = "Films"
    LUNG = "Lungs"
    INFECTION = "Infection"
    DETECTION = "Infected or not"
    CLASSES = "Classes"
    PERCENT = "Percent infected"


class Unit(StrEnum):
    """Unit of a figure."""

    SHARE = "share"
    CORRELATION = "correlation"
    POINTS = "points of percent"


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """One figure of merit.

    Attributes
    ----------
    name : str
    section : Section
    inputs : callable
        Returns the arrays that `statistic` takes, one value per film. A film with NaN in any of them is left out.
    statistic : callable
        Combines the films, for many weightings at once. NaN if the figure is not defined.
    interval : callable or None
        The 95 % interval in closed form; None if there is none.
    on_card : bool
        Whether the bundle's card shows it; all other figures are in reports only.
    film_class : FilmClass or None
        The class, if the figure is about a single class.
    """

    name: str
    section: Section
    inputs: Callable[[FilmColumns], tuple[PerFilm, ...]]
    statistic: Callable[..., Values]
    interval: ClosedForm | None = intervals.share_interval
    unit: Unit = Unit.SHARE
    on_card: bool = False
    film_class: FilmClass | None = None


def is_any_class(c: FilmColumns, classes: Sequence[FilmClass]) -> NDArray[np.bool_]:
    """Return which films have one of these classes as true class."""
    return np.asarray(np.isin(c.true_class, [CLASSES.index(film_class) for film_class in classes]))


def where(films: NDArray[np.bool_], values: NDArray[Any]) -> PerFilm:
    """Return `values` where `films` is true, NaN elsewhere."""
    return np.where(films, np.asarray(values, dtype=np.float64), np.nan)
