"""Score labelled films by the very steps that score an archive, and compare each with its truth.

A film that the pipeline rejects is not left out: it counts as nothing found, as a wrong class and as lungs not found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card, FilmClass, LungsFound, Reason
from cxrlib.datasets import LungConvention, Sample, read_mask
from cxrlib.errors import FilmError
from cxrlib.film_steps import ScoringParameters, clean_and_measure, fetch_and_read
from cxrlib.measuring.metrics import PixelCounts, PixelMetric, count_pixels
from cxrlib.parallel.prefetch import PrefetchBounds, Prefetcher
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, ScoredFilm

#: What runs the networks: `cxrlib.models.inference.engine.Engine.predict`.
Predict = Callable[[Sequence[CxrImage]], list[Prediction | FilmError]]

_AT_ONCE: Final = 64
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one film, as far as its labels say; pixels are counted on the grid of the true masks.

    Attributes
    ----------
    lung_px, infection_px : int or None
        True pixels; None where there is no such mask (or a lung drawn by the other convention).
    infected : bool or None
        Whether the film has any infected pixel.
    percent : float or None
        Percent of the lung that is infected, 0 to 100: as the data set states it, else of its two masks, the infection
        cut to the lung (qu-ex section 3.3; inflocnet Eq. 2).
    """

    lung_px: int | None
    infection_px: int | None
    infected: bool | None
    percent: float | None


@dataclass(frozen=True, slots=True)
class FilmResult:
    """What one labelled film came to.

    Attributes
    ----------
    sample : Sample
    truth : Truth
    reason : Reason or None
        Why it was rejected; what was measured is then None, and of the counted pixels none was found.
    probabilities : dict of FilmClass to float, or None
        None where it was rejected or the bundle gives no classes.
    lung, infection : PixelCounts or None
        On the grid of the true mask; None where there is no such truth or the bundle gives no infection.
    percent : float or None
        Percent infected, 0 to 100; None where it was rejected or the bundle gives no infection.
    """

    sample: Sample
    truth: Truth
    reason: Reason | None = None
    probabilities: dict[FilmClass, float] | None = None
    lung: PixelCounts | None = None
    infection: PixelCounts | None = None
    lungs_found: LungsFound | None = None
    percent: float | None = None

    @property
    def film_class(self) -> FilmClass | None:
        """The most probable class."""
        probabilities = self.probabilities
        return None if probabilities is None else max(probabilities, key=lambda name: probabilities[name])

    def of_mask(self, metric: PixelMetric, counts: PixelCounts | None) -> float | None:
        """Return a measure of one of this film's masks; a rejected film has found nothing, and nothing rightly."""
        if counts is None:
            return None
        value = metric.of(counts)
        return value if self.reason is None or math.isnan(value) else 0.0

    @property
    def lung_dice(self) -> float | None:
        """Dice of the lung mask."""
        return self.of_mask(PixelMetric.DICE, self.lung)

    @property
    def infection_dice(self) -> float | None:
        """Dice of the infection mask."""
        return self.of_mask(PixelMetric.DICE, self.infection)


def evaluate(
    samples: Sequence[Sample],
    predict: Predict,
    card: Card,
    *,
    settings: Settings | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[FilmResult]:
    """Score labelled films and compare each with its truth.

    Parameters
    ----------
    samples : sequence of Sample
    predict : callable
        The bundle's engine.
    card : Card
        The same bundle's card.
    settings : Settings, optional
        How films are read; the defaults, if not given.
    progress : callable
        Told how many films were done since the last call.

    Returns
    -------
    list of FilmResult
        One per sample, in their order.
    """
    gives_infection = any("infection" in network.outputs for network in card.networks)
    results: list[FilmResult] = []
    with ThreadPoolExecutor((settings or Settings()).run.decode_threads) as pool:
        for part in _parts(score_films(samples, predict, card, settings=settings, pool=pool)):
            results += pool.map(lambda pair: _compare(pair[0], pair[1], gives_infection), part)
            progress(len(part))
    return results


def score_films(
    samples: Sequence[Sample],
    predict: Predict,
    card: Card,
    *,
    settings: Settings | None = None,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Sample, ScoredFilm | FilmError]]:
    """Yield each film with what the pipeline makes of it; `pool` reads ahead of the networks."""
    settings = settings or Settings()
    parameters = ScoringParameters.of(card)

    def read(sample: Sample) -> tuple[ImageRef, CxrImage | FilmError]:
        ref = _reference(sample.image)
        return ref, fetch_and_read(ref, settings, parameters)

    bounds = PrefetchBounds(settings.run.films_ahead)
    with closing(Prefetcher(lambda sample: pool.submit(read, sample), samples, bounds)) as results:
        for part in _parts(results):
            images = [image for _, (_, image) in part if isinstance(image, CxrImage)]
            predicted = iter(predict(images) if images else ())
            for sample, (ref, image) in part:
                yield sample, _assessed(ref, image, predicted, parameters)


def _assessed(
    ref: ImageRef,
    image: CxrImage | FilmError,
    predicted: Iterator[Prediction | FilmError],
    parameters: ScoringParameters,
) -> ScoredFilm | FilmError:
    if isinstance(image, FilmError):
        return image
    prediction = next(predicted)
    return prediction if isinstance(prediction, FilmError) else clean_and_measure(ref, image, prediction, parameters)


def _reference(path: Path) -> ImageRef:
    """Return what a listing would say of a film; its size is its version, since nobody writes to it meanwhile."""
    size = path.stat().st_size
    return ImageRef(uri=str(path.resolve()), version=f"size:{size}", size=size)


def _parts(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    while part := list(islice(items, _AT_ONCE)):
        yield part


def _compare(sample: Sample, outcome: ScoredFilm | FilmError, gives_infection: bool) -> FilmResult:
    lung = read_mask(sample.lung) if sample.lung is not None and _comparable(sample) else None
    infection = None if sample.infection is None else read_mask(sample.infection)
    truth = _truth(sample, lung, infection)
    if isinstance(outcome, FilmError):
        return FilmResult(
            sample,
            truth,
            outcome.reason,
            lung=None if lung is None else _nothing_found(lung),
            infection=None if infection is None or not gives_infection else _nothing_found(infection),
        )
    masks = outcome.masks
    return FilmResult(
        sample,
        truth,
        probabilities=outcome.prediction.classes,
        lung=None if lung is None else _counted(lung, masks.lung),
        infection=None if infection is None or masks.infection is None else _counted(infection, masks.infection),
        lungs_found=masks.lungs_found,
        percent=outcome.severity.whole.percent,
    )


def _comparable(sample: Sample) -> bool:
    return sample.lung_convention is LungConvention.LUNG_FIELD


def _truth(sample: Sample, lung: NDArray[np.bool_] | None, infection: NDArray[np.bool_] | None) -> Truth:
    percent = sample.percent_infected
    if percent is None and lung is not None and infection is not None and lung.any():
        inside = lung & _resized(infection, lung.shape)
        percent = 100.0 * np.count_nonzero(inside) / np.count_nonzero(lung)
    infected = None if percent is None else percent > 0
    return Truth(
        lung_px=None if lung is None else int(np.count_nonzero(lung)),
        infection_px=None if infection is None else int(np.count_nonzero(infection)),
        infected=infected if infection is None else bool(infection.any()),
        percent=percent,
    )


def _nothing_found(truth: NDArray[np.bool_]) -> PixelCounts:
    return count_pixels(truth, np.zeros_like(truth))


def _counted(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> PixelCounts:
    return count_pixels(truth, _resized(found, truth.shape))


def _resized(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape == shape:
        return mask
    rows, columns = shape
    return np.asarray(cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5)
