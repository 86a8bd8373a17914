"""What a figure of merit is: of which films, put together how, and with what interval."""

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

#: Classes as figures and reports call them.
CLASS_NAMES: Final = {FilmClass.COVID19: "COVID-19", FilmClass.PNEUMONIA: "pneumonia", FilmClass.NORMAL: "Normal"}


class Section(StrEnum):
    """What a figure is about."""

    CONDUCT = "Films"
    LUNG = "Lungs"
    INFECTION = "Infection"
    DETECTION = "Infected or not"
    CLASSES = "Classes"
    PERCENT = "Percent infected"


class Unit(StrEnum):
    """What a figure is counted in."""

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
        Gives, of some films, the arrays that `statistic` takes; a film with NaN in any of them does not count.
    statistic : callable
        Puts the films together, for many weightings at once; NaN where the figure is not defined.
    interval : callable or None
        The 95 % interval in closed form; None where there is none.
    on_card : bool
        Whether it stands on a bundle's card; all others are in reports alone.
    film_class : FilmClass or None
        Set where the figure is of one class.
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
    """Return which films are truly of one of some classes."""
    return np.asarray(np.isin(c.true_class, [CLASSES.index(film_class) for film_class in classes]))


def where(films: NDArray[np.bool_], values: NDArray[Any]) -> PerFilm:
    """Return `values` of `films`, and NaN of the others."""
    return np.where(films, np.asarray(values, dtype=np.float64), np.nan)
