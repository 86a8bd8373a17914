"""Choose the films with the worst results and draw them beside their true masks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card, LungsFound
from cxrlib.datasets import Sample, read_mask
from cxrlib.datasets.sample import Mask
from cxrlib.evaluation.film_results import FilmResult, Predict, score_films
from cxrlib.measuring import lung_sides
from cxrlib.measuring.overlay import draw_overlay
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Masks, ScoredFilm

#: Films shown per ranking, and how many of them may come from one source.
MAX_PER_RANKING: Final = 8
MAX_PER_SOURCE: Final = 4

_HEIGHT: Final = 340
_GAP: Final = 6
_JPEG_QUALITY: Final = 75


class ShownFilms(StrEnum):
    """Which films a report may show. A report that is passed on must not show films that may not be."""

    ALL = "all"
    PHANTOMS = "phantoms"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Ranking:
    """A ranking of films by `badness`, largest first. A film with badness None is not ranked."""

    title: str
    badness: Callable[[FilmResult], float | None]


@dataclass(frozen=True, slots=True)
class FilmPicture:
    """One film of a ranking: its result, and a JPEG of its true masks (left) beside the found masks (right)."""

    film: FilmResult
    jpeg: bytes


def _lung_badness(film: FilmResult) -> float | None:
    return None if film.lung_dice is None else -film.lung_dice


def _infection_badness(film: FilmResult) -> float | None:
    return -film.infection_dice if film.truth.infected and film.infection_dice is not None else None


def _percent_badness(film: FilmResult) -> float | None:
    return None if film.percent is None or film.truth.percent is None else abs(film.percent - film.truth.percent)


def _class_badness(film: FilmResult) -> float | None:
    true, probabilities = film.sample.film_class, film.probabilities
    if true is None or probabilities is None or film.film_class is true:
        return None
    return max(probabilities.values())


RANKINGS: Final = (
    Ranking("Lowest lung Dice", _lung_badness),
    Ranking("Lowest infection Dice of infected films", _infection_badness),
    Ranking("Largest error in percent infected", _percent_badness),
    Ranking("Wrong class with the highest probability", _class_badness),
)


def worst_films(results: Sequence[FilmResult], ranking: Ranking) -> list[FilmResult]:
    """Return the worst films of a ranking, worst first, with at most `MAX_PER_SOURCE` from one source.

    Rejected films are not ranked because they have no masks to draw.
    """
    rated = [
        (badness, film) for film in results if film.reason is None and (badness := ranking.badness(film)) is not None
    ]
    chosen, per_source = list[FilmResult](), Counter[str]()
    for _, film in sorted(rated, key=lambda item: (-item[0], item[1].sample.image)):
        if per_source[film.sample.source] < MAX_PER_SOURCE and len(chosen) < MAX_PER_RANKING:
            per_source[film.sample.source] += 1
            chosen.append(film)
    return chosen


def draw_worst_films(
    results: Sequence[FilmResult], predict: Predict, card: Card, settings: Settings
) -> dict[str, list[FilmPicture]]:
    """Return the pictures of every ranking, by its title. The films are scored again, which gives the same masks."""
    chosen = {ranking.title: worst_films(results, ranking) for ranking in RANKINGS}
    samples = sorted({film.sample for films in chosen.values() for film in films}, key=lambda sample: sample.image)
    with ThreadPoolExecutor(settings.run.decode_threads) as pool:
        scored = score_films(samples, predict, card, settings=settings, pool=pool)
        drawn = {sample: _picture(sample, film) for sample, film in scored if isinstance(film, ScoredFilm)}
    return {
        title: [FilmPicture(film, drawn[film.sample]) for film in films if film.sample in drawn]
        for title, films in chosen.items()
        if films
    }


def _picture(sample: Sample, film: ScoredFilm) -> bytes:
    pictures = [_scaled(draw_overlay(film.image, masks)) for masks in (_true_masks(sample, film.image), film.masks)]
    gap = np.full((_HEIGHT, _GAP, 3), 255, dtype=np.uint8)
    _, encoded = cv2.imencode(
        ".jpg", np.hstack([pictures[0], gap, pictures[1]]), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    )
    return encoded.tobytes()


def _scaled(png: bytes) -> NDArray[np.uint8]:
    picture = np.asarray(cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR))
    rows, columns = picture.shape[:2]
    size = (max(math.floor(columns * _HEIGHT / rows), 1), _HEIGHT)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _true_masks(sample: Sample, image: CxrImage) -> Masks:
    """Return the true masks on the film's grid; missing masks are empty. Lungs drawn with the heart are shown too."""
    rows, columns = (int(side) for side in image.pixels.shape)

    def read(mask: Mask | None) -> NDArray[np.bool_]:
        return np.zeros((rows, columns), dtype=bool) if mask is None else read_mask(mask, rows, columns)

    lung = read(sample.lung)
    if lung.any():
        sides = lung_sides.split_lungs(lung)
    else:
        sides = lung_sides.LungSides(lung, lung, LungsFound.BOTH, split=False)
    infection = None if sample.infection is None else read(sample.infection)
    return Masks(sides.left, sides.right, infection, sides.found, sides.split)


def rejected_films(results: Sequence[FilmResult]) -> Iterator[FilmResult]:
    """Yield the rejected films, in order."""
    return (film for film in results if film.reason is not None)
