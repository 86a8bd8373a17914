"""The results of one source's films as arrays with one value per film, the input of the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass, LungsFound
from cxrlib.evaluation.figures.statistics import PerFilm
from cxrlib.evaluation.film_results import FilmResult
from cxrlib.measuring.metrics import PixelCounts, PixelMetric

#: Order of the classes in every array.
CLASSES: Final = tuple(FilmClass)


@dataclass(frozen=True, slots=True, eq=False)
class MaskColumns:
    """Agreement of one kind of mask: float64, one value per film, NaN without a true mask to compare with.

    The counts are in pixels on the grid of the true mask. `per_film` holds each metric of each film; a rejected film
    scores 0.
    """

    true_positive: PerFilm
    false_positive: PerFilm
    false_negative: PerFilm
    true_negative: PerFilm
    per_film: dict[PixelMetric, PerFilm]


@dataclass(frozen=True, slots=True, eq=False)
class FilmColumns:
    """The films of one source as arrays.

    Attributes
    ----------
    films : tuple of FilmResult
    groups : int64
        Group of the film, 0 to G - 1 for G groups.
    true_class, called : int64
        Index into `CLASSES`; -1 if the class is unknown, or the film was rejected or not classified.
    probability : float64, films x classes
        NaN if the film was rejected or not classified.
    rejected, both_lungs : float64
        1 or 0.
    lung, infection : MaskColumns
    truly_infected, called_infected : float64
        Whether any pixel is infected: 1 or 0, NaN if unknown. `called_infected` of a rejected film is NaN.
    true_percent, percent : float64
        Percent infected, 0 to 100, NaN if unknown.
    extent : float64
        Radiologists' geographic extent, 0 to 8, NaN if unknown.
    """

    films: tuple[FilmResult, ...]
    groups: NDArray[np.int64]
    true_class: NDArray[np.int64]
    called: NDArray[np.int64]
    probability: NDArray[np.float64]
    rejected: PerFilm
    both_lungs: PerFilm
    lung: MaskColumns
    infection: MaskColumns
    truly_infected: PerFilm
    called_infected: PerFilm
    true_percent: PerFilm
    percent: PerFilm
    extent: PerFilm

    def is_class(self, film_class: FilmClass) -> NDArray[np.bool_]:
        """Return which films have this true class."""
        return np.asarray(self.true_class == CLASSES.index(film_class))


def to_columns(films: Sequence[FilmResult]) -> FilmColumns:
    """Return film results as arrays."""
    names = sorted({film.sample.group for film in films})
    return FilmColumns(
        films=tuple(films),
        groups=np.searchsorted(np.array(names), np.array([film.sample.group for film in films])).astype(np.int64),
        true_class=np.array([_index(film.sample.film_class) for film in films], dtype=np.int64),
        called=np.array([_index(film.film_class) for film in films], dtype=np.int64),
        probability=np.array([_probabilities(film) for film in films]).reshape(len(films), len(CLASSES)),
        rejected=_column(films, lambda film: film.reason is not None),
        both_lungs=_column(films, lambda film: film.lungs_found is LungsFound.BOTH),
        lung=_mask(films, lambda film: film.lung),
        infection=_mask(films, lambda film: film.infection),
        truly_infected=_column(films, lambda film: film.truth.infected),
        called_infected=_column(films, lambda film: None if film.percent is None else film.percent > 0),
        true_percent=_column(films, lambda film: film.truth.percent),
        percent=_column(films, lambda film: film.percent),
        extent=_column(films, lambda film: film.sample.geographic_extent),
    )


def _column(films: Iterable[FilmResult], get: Callable[[FilmResult], float | None]) -> PerFilm:
    return np.array([np.nan if (value := get(film)) is None else value for film in films], dtype=np.float64)


def _index(film_class: FilmClass | None) -> int:
    return -1 if film_class is None else CLASSES.index(film_class)


def _probabilities(film: FilmResult) -> list[float]:
    if film.probabilities is None:
        return [np.nan] * len(CLASSES)
    return [film.probabilities.get(film_class, 0.0) for film_class in CLASSES]


def _mask(films: Sequence[FilmResult], counts_of: Callable[[FilmResult], PixelCounts | None]) -> MaskColumns:
    def count_column(get: Callable[[PixelCounts], int]) -> PerFilm:
        return _column(films, lambda film: None if (counts := counts_of(film)) is None else get(counts))

    return MaskColumns(
        true_positive=count_column(lambda counts: counts.true_positive),
        false_positive=count_column(lambda counts: counts.false_positive),
        false_negative=count_column(lambda counts: counts.false_negative),
        true_negative=count_column(lambda counts: counts.true_negative),
        per_film={
            metric: _column(films, lambda film, metric=metric: film.mask_metric(metric, counts_of(film)))  # type: ignore[misc]
            for metric in PixelMetric
        },
    )
