"""Score labelled films with the same steps that score an archive, and compare each with its labels.

A film that the pipeline rejects still counts: as empty masks, as a wrong class and as lungs not found.
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

#: What runs the networks: `cxrlib.models.inference.batched_engine.BatchedEngine.predict`.
Predict = Callable[[Sequence[CxrImage]], list[Prediction | FilmError]]

#: Films per call of the networks.
_FILMS_PER_CALL: Final = 64
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Truth:
    """The ground truth of one film, from its labels. Pixels are counted on the grid of the true masks.

    Attributes
    ----------
    lung_px, infection_px : int or None
        Pixels of the true mask. None without such a mask, or if the lung was drawn with the heart shadow.
    infected : bool or None
        Whether the film has any infected pixel; None if unknown.
    percent : float or None
        Percent of the lung that is infected, 0 to 100. The data set's own value if it has one, else the infection mask
        inside the lung mask over the lung mask (qu-ex section 3.3; inflocnet Eq. 2).
    """

    lung_px: int | None
    infection_px: int | None
    infected: bool | None
    percent: float | None


@dataclass(frozen=True, slots=True)
class FilmResult:
    """The result of one labelled film.

    Attributes
    ----------
    sample : Sample
    truth : Truth
    reason : Reason or None
        Why the film was rejected. Its measurements are then None, and its pixels are counted against an empty mask.
    probabilities : dict of FilmClass to float, or None
        None if the film was rejected or the bundle has no class output.
    lung, infection : PixelCounts or None
        Agreement of the masks on the grid of the true mask. None without a true mask, or if the bundle has no
        infection output.
    lungs_found : LungsFound or None
        None if the film was rejected.
    percent : float or None
        Percent infected, 0 to 100. None if the film was rejected or the bundle has no infection output.
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
        """The class with the highest probability; None if there are no probabilities."""
        probabilities = self.probabilities
        return None if probabilities is None else max(probabilities, key=lambda name: probabilities[name])

    def mask_metric(self, metric: PixelMetric, counts: PixelCounts | None) -> float | None:
        """Return a metric of one of this film's masks. A rejected film scores 0, for specificity and accuracy too."""
        if counts is None:
            return None
        value = metric.of(counts)
        return value if self.reason is None or math.isnan(value) else 0.0

    @property
    def lung_dice(self) -> float | None:
        """Dice of the lung mask."""
        return self.mask_metric(PixelMetric.DICE, self.lung)

    @property
    def infection_dice(self) -> float | None:
        """Dice of the infection mask."""
        return self.mask_metric(PixelMetric.DICE, self.infection)


def evaluate(
    samples: Sequence[Sample],
    predict: Predict,
    card: Card,
    *,
    settings: Settings | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[FilmResult]:
    """Score labelled films and compare each with its labels.

    Parameters
    ----------
    samples : sequence of Sample
    predict : callable
        `predict` of the bundle's engine.
    card : Card
        Card of the same bundle.
    settings : Settings, optional
        How films are read. Default: the default settings.
    progress : callable
        Called with the number of films finished since its last call.

    Returns
    -------
    list of FilmResult
        One per sample, in their order.
    """
    gives_infection = any("infection" in network.outputs for network in card.networks)
    results: list[FilmResult] = []
    with ThreadPoolExecutor((settings or Settings()).run.decode_threads) as pool:
        for batch in _batches(score_films(samples, predict, card, settings=settings, pool=pool)):
            results += pool.map(lambda pair: _compare(pair[0], pair[1], gives_infection), batch)
            progress(len(batch))
    return results


def score_films(
    samples: Sequence[Sample],
    predict: Predict,
    card: Card,
    *,
    settings: Settings | None = None,
    pool: ThreadPoolExecutor,
) -> Iterator[tuple[Sample, ScoredFilm | FilmError]]:
    """Yield each film with its pipeline result. The threads of `pool` read films ahead of the networks."""
    settings = settings or Settings()
    parameters = ScoringParameters.of(card)

    def read(sample: Sample) -> tuple[ImageRef, CxrImage | FilmError]:
        ref = _reference(sample.image)
        return ref, fetch_and_read(ref, settings, parameters)

    bounds = PrefetchBounds(settings.run.films_ahead)
    with closing(Prefetcher(lambda sample: pool.submit(read, sample), samples, bounds)) as results:
        for batch in _batches(results):
            images = [image for _, (_, image) in batch if isinstance(image, CxrImage)]
            predicted = iter(predict(images) if images else ())
            for sample, (ref, image) in batch:
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
    """Return a film's reference as an archive listing would. Its size serves as version: nothing writes to it now."""
    size = path.stat().st_size
    return ImageRef(uri=str(path.resolve()), version=f"size:{size}", size=size)


def _batches(items: Iterator[_Item]) -> Iterator[list[_Item]]:
    while batch := list(islice(items, _FILMS_PER_CALL)):
        yield batch


def _compare(sample: Sample, outcome: ScoredFilm | FilmError, gives_infection: bool) -> FilmResult:
    lung = read_mask(sample.lung) if sample.lung is not None and _is_lung_field(sample) else None
    infection = None if sample.infection is None else read_mask(sample.infection)
    truth = _truth(sample, lung, infection)
    if isinstance(outcome, FilmError):
        return FilmResult(
            sample,
            truth,
            outcome.reason,
            lung=None if lung is None else _count_against_empty(lung),
            infection=None if infection is None or not gives_infection else _count_against_empty(infection),
        )
    masks = outcome.masks
    return FilmResult(
        sample,
        truth,
        probabilities=outcome.prediction.classes,
        lung=None if lung is None else _count_resized(lung, masks.lung),
        infection=None if infection is None or masks.infection is None else _count_resized(infection, masks.infection),
        lungs_found=masks.lungs_found,
        percent=outcome.severity.whole.percent,
    )


def _is_lung_field(sample: Sample) -> bool:
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


def _count_against_empty(truth: NDArray[np.bool_]) -> PixelCounts:
    return count_pixels(truth, np.zeros_like(truth))


def _count_resized(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> PixelCounts:
    return count_pixels(truth, _resized(found, truth.shape))


def _resized(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    if mask.shape == shape:
        return mask
    rows, columns = shape
    return np.asarray(cv2.resize(mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_LINEAR) > 0.5)
