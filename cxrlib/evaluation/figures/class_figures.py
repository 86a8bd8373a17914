"""Figures of the class: accuracy, each class against the others, and calibration.

Sensitivity, specificity, precision and F1 are qu-ex Eq. 6 to 9, of one class against the others. inflocnet prints its
Eq. 8 (sensitivity) and Eq. 9 (precision) with the denominators of each other; the standard definitions stand here. A
film of a class that the bundle does not know is of no figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass
from cxrlib.evaluation.figures.figure import CLASS_NAMES, Figure, Section, is_any_class, where
from cxrlib.evaluation.figures.film_columns import CLASSES, FilmColumns
from cxrlib.evaluation.figures.statistics import PerFilm, Values, Weights, calibration_error, mean, ratio, roc_auc

_NUMBERS: Final = {2: "two", 3: "three"}


def accuracy_figure(classes: Sequence[FilmClass]) -> Figure:
    """Return the share of films whose class was found."""
    return Figure(
        f"{_NUMBERS.get(len(classes), str(len(classes)))}-class accuracy",
        Section.CLASSES,
        lambda c: (where(is_any_class(c, classes), c.called == c.true_class),),
        mean,
        on_card=True,
    )


def per_class_figures(classes: Sequence[FilmClass]) -> Iterator[Figure]:
    """Yield what is measured of each class against the others, and the means over the classes."""
    indices = tuple(CLASSES.index(film_class) for film_class in classes)

    def known(c: FilmColumns) -> NDArray[np.bool_]:
        return is_any_class(c, classes)

    def labels(c: FilmColumns) -> tuple[PerFilm, ...]:
        return (where(known(c), c.true_class), c.called.astype(np.float64))

    def scores(c: FilmColumns) -> tuple[PerFilm, ...]:
        return (where(known(c), c.true_class), *(c.probability[:, index] for index in indices))

    def one_against_rest(index: int, c: FilmColumns) -> tuple[PerFilm, ...]:
        return (c.probability[:, index], where(known(c), c.true_class == index))

    def one_share(share: _Share, index: int, c: FilmColumns) -> tuple[PerFilm, ...]:
        return (where(known(c), share(c, index)),)

    def over_classes(of_class: Callable[..., Values], *inputs: PerFilm) -> Values:
        return np.asarray(np.mean([of_class(index, *inputs) for index in indices], axis=0))

    def area(index: int, true: PerFilm, *rest: PerFilm) -> Values:
        *probabilities, weights = rest
        return roc_auc(probabilities[indices.index(index)], where(~np.isnan(true), true == index), weights)

    figure = partial(Figure, section=Section.CLASSES)
    yield figure("class ROC AUC, macro", inputs=scores, statistic=partial(over_classes, area), on_card=True)
    yield figure("class sensitivity, macro", inputs=labels, statistic=partial(over_classes, _class_sensitivity))
    yield figure("class F1, macro", inputs=labels, statistic=partial(over_classes, _class_f1))
    yield figure(
        "class calibration error",
        inputs=lambda c: (confidence(c), where(known(c), c.called == c.true_class)),
        statistic=calibration_error,
    )
    for film_class, index in zip(classes, indices, strict=True):
        of_one = partial(figure, film_class=film_class)
        name = CLASS_NAMES[film_class]
        for measure, share in _SHARES.items():
            yield of_one(f"class {measure}, {name}", inputs=partial(one_share, share, index), statistic=mean)
        yield of_one(f"class F1, {name}", inputs=labels, statistic=partial(_class_f1, index))
        yield of_one(f"class ROC AUC, {name}", inputs=partial(one_against_rest, index), statistic=roc_auc)


def _class_sensitivity(index: int, true: PerFilm, called: PerFilm, weights: Weights) -> Values:
    return mean(where(true == index, called == index), weights)


def _class_f1(index: int, true: PerFilm, called: PerFilm, weights: Weights) -> Values:
    both = (true == index) & (called == index)
    either = (true == index).astype(np.float64) + (~np.isnan(true) & (called == index))
    found = bool(np.any(true == index))  # without a film of the class, the figure would be 0 whatever was called
    return ratio(2.0 * both, either if found else np.zeros(len(true)), weights)


#: Of the films that a share is of, whether each counts; NaN of the others, so that its interval rests on those films.
_Share = Callable[[FilmColumns, int], PerFilm]
_SHARES: Final[Mapping[str, _Share]] = {
    "sensitivity": lambda c, index: where(c.true_class == index, c.called == index),
    "specificity": lambda c, index: where(c.true_class != index, (c.called != index) & (c.called >= 0)),
    "precision": lambda c, index: where(c.called == index, c.true_class == index),
}


def confidence(c: FilmColumns) -> PerFilm:
    """Return the probability of the class that was called; NaN where none was."""
    return np.asarray(c.probability.max(axis=1))
