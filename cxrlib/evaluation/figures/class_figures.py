"""Class figures: accuracy, each class against the others, and calibration.

Sensitivity, specificity, precision and F1 of one class against the others are qu-ex Eq. 6 to 9. inflocnet exchanges the
denominators of its Eq. 8 (sensitivity) and Eq. 9 (precision); this module uses the standard definitions. Films of a
class that the bundle does not know are left out.
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
    """Return the figure of the share of films with the right class."""
    return Figure(
        f"{_NUMBERS.get(len(classes), str(len(classes)))}-class accuracy",
        Section.CLASSES,
        lambda c: (where(is_any_class(c, classes), c.called == c.true_class),),
        mean,
        on_card=True,
    )


def per_class_figures(classes: Sequence[FilmClass]) -> Iterator[Figure]:
    """Yield the figures of each class against the others, and their means over the classes."""
    indices = tuple(CLASSES.index(film_class) for film_class in classes)

    def known(c: FilmColumns) -> NDArray[np.bool_]:
        return is_any_class(c, classes)

    def labels(c: FilmColumns) -> tuple[PerFilm, ...]:
        return (where(known(c), c.true_class), c.called.astype(np.float64))

    def scores(c: FilmColumns) -> tuple[PerFilm, ...]:
        return (where(known(c), c.true_class), *(c.probability[:, index] for index in indices))

    def one_against_rest(index: int, c: FilmColumns) -> tuple[PerFilm, ...]:
        return (c.probability[:, index], where(known(c), c.true_class == index))

    def share_of_class(share: _Share, index: int, c: FilmColumns) -> tuple[PerFilm, ...]:
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
        class_figure = partial(figure, film_class=film_class)
        name = CLASS_NAMES[film_class]
        for metric, share in _SHARES.items():
            yield class_figure(f"class {metric}, {name}", inputs=partial(share_of_class, share, index), statistic=mean)
        yield class_figure(f"class F1, {name}", inputs=labels, statistic=partial(_class_f1, index))
        yield class_figure(f"class ROC AUC, {name}", inputs=partial(one_against_rest, index), statistic=roc_auc)


def _class_sensitivity(index: int, true: PerFilm, called: PerFilm, weights: Weights) -> Values:
    return mean(where(true == index, called == index), weights)


def _class_f1(index: int, true: PerFilm, called: PerFilm, weights: Weights) -> Values:
    both = (true == index) & (called == index)
    either = (true == index).astype(np.float64) + (~np.isnan(true) & (called == index))
    exists = bool(np.any(true == index))  # without films of the class, F1 would be 0 whatever the bundle called
    return ratio(2.0 * both, either if exists else np.zeros(len(true)), weights)


#: 1 or 0 for each film in the denominator of a share, NaN for all others: its interval counts only these films.
_Share = Callable[[FilmColumns, int], PerFilm]
_SHARES: Final[Mapping[str, _Share]] = {
    "sensitivity": lambda c, index: where(c.true_class == index, c.called == index),
    "specificity": lambda c, index: where(c.true_class != index, (c.called != index) & (c.called >= 0)),
    "precision": lambda c, index: where(c.called == index, c.true_class == index),
}


def confidence(c: FilmColumns) -> PerFilm:
    """Return the probability of the called class; NaN for films without a called class."""
    return np.asarray(c.probability.max(axis=1))
