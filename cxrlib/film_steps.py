"""Process one film before and after the networks: fetch and read it; clean its masks and measure severity.

Each step returns its result or a `FilmError`, and raises nothing but MemoryError. A film that triggers a bug in this
software becomes a reject and does not stop the run.
"""

from __future__ import annotations

import dataclasses
import logging
import traceback
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card, Reason
from cxr_schemas.card import GradeCuts, Postprocess
from cxrlib.archive.fetch import fetch
from cxrlib.archive.filesystems import is_process_local
from cxrlib.errors import FilmError
from cxrlib.measuring.localisation import localisation_map
from cxrlib.measuring.masks import clean_masks
from cxrlib.measuring.severity import measure_severity
from cxrlib.parallel.worker_protocol import Loss, LostItem
from cxrlib.reading import read_film
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, RejectedFilm, ScoredFilm

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoringParameters:
    """The part of a bundle's card that these steps need.

    Attributes
    ----------
    rows, columns : int
        Size of the grid to which films are resampled for the networks.
    postprocess : Postprocess
    grades : GradeCuts
    localisation_threshold : float or None
        A pixel counts as localised where the map exceeds it; None if the bundle has no localisation map.
    """

    rows: int
    columns: int
    postprocess: Postprocess
    grades: GradeCuts
    localisation_threshold: float | None = None

    @classmethod
    def of(cls, card: Card) -> ScoringParameters:
        """Take the parameters from a card."""
        threshold = None if card.localisation is None else card.localisation.threshold
        return cls(card.input.rows, card.input.columns, card.postprocess, card.grades, threshold)


@dataclass(frozen=True, slots=True)
class FilmReader:
    """Fetch a listed object and read it as input for the networks.

    It implements `cxrlib.parallel.worker_protocol.FetchDecodeWork`, so it can run in worker processes.
    """

    settings: Settings
    parameters: ScoringParameters

    def __call__(self, ref: ImageRef) -> CxrImage | FilmError:
        """Fetch and decode in this process, without limits of memory or time."""
        try:
            return self.decode(ref, self.fetch(ref))
        except MemoryError:
            return self.on_lost(ref, LostItem(Loss.MEMORY, "the memory of this process"))

    def fetch(self, ref: ImageRef) -> bytes | FilmError:
        """Return the object's bytes, or why they could not be fetched."""
        try:
            return fetch(ref, self.settings)
        except FilmError as error:
            return error
        except MemoryError:
            raise
        except Exception as error:
            return _fault(ref, error, Reason.FETCH_FAILED, "an object that can be read")

    def decode(self, ref: ImageRef, fetched: bytes | FilmError) -> CxrImage | FilmError:
        """Decode the fetched bytes. Raises MemoryError if the film does not fit in memory."""
        if isinstance(fetched, FilmError):
            return fetched
        try:
            return read_film(fetched, self.settings, self.parameters.rows, self.parameters.columns)
        except FilmError as error:
            return error
        except MemoryError:
            raise
        except Exception as error:
            return _fault(ref, error, Reason.DECODER_FAILED, "a film that can be decoded")

    def on_lost(self, ref: ImageRef, lost: LostItem) -> FilmError:
        """Return the reject of a film whose worker process was lost."""
        match lost.loss:
            case Loss.DIED:
                got = f"a process ended by {lost.detail}, twice"
                return FilmError(Reason.DECODER_DIED, expected="a film that can be decoded", got=got)
            case Loss.MEMORY:
                return FilmError(Reason.OUT_OF_MEMORY, expected=f"a film that takes at most {lost.detail}", got="more")
            case Loss.TIME:
                return FilmError(Reason.TIMEOUT, expected=f"a film read within {lost.detail}", got="a timeout")

    def needs_this_process(self, ref: ImageRef) -> bool:
        """Return whether only this process can fetch the object."""
        return is_process_local(ref.uri)


def fetch_and_read(ref: ImageRef, settings: Settings, parameters: ScoringParameters) -> CxrImage | FilmError:
    """Fetch one listed object and read it as input for the networks; return a `FilmError` if that fails."""
    return FilmReader(settings, parameters)(ref)


def clean_and_measure(
    ref: ImageRef, image: CxrImage, prediction: Prediction, parameters: ScoringParameters
) -> ScoredFilm | FilmError:
    """Clean the masks of one film and measure severity; return a `FilmError` if the masks are implausible."""
    try:
        masks = clean_masks(prediction, parameters.postprocess)
        severity = measure_severity(masks, image.pixel_mm2, parameters.grades, _localised(prediction, parameters))
    except FilmError as error:
        return error
    except Exception as error:
        return _fault(ref, error, Reason.MODEL_FAILED, "masks that can be measured")
    return ScoredFilm(ref=ref, image=image, prediction=prediction, masks=masks, severity=severity)


def _localised(prediction: Prediction, parameters: ScoringParameters) -> NDArray[np.bool_] | None:
    """Return the pixels where the localisation map exceeds its threshold."""
    found, threshold = localisation_map(prediction), parameters.localisation_threshold
    return None if found is None or threshold is None else found > np.float32(threshold)


def without_pixels(film: ScoredFilm) -> ScoredFilm:
    """Return `film` with its grey values and probability maps replaced by zeros that take no memory.

    A row needs neither, and a film stays in memory until its chunk is complete: 0.2 MB each, not 1 MB, at 256 x 256.
    """
    blank = np.broadcast_to(np.float32(0), film.image.pixels.shape)
    infection = None if film.prediction.infection is None else blank
    return dataclasses.replace(
        film,
        image=dataclasses.replace(film.image, pixels=blank),
        prediction=dataclasses.replace(film.prediction, lung=blank, infection=infection),
    )


def rejected(ref: ImageRef, error: FilmError) -> RejectedFilm:
    """Return the reject of `ref` because of `error`."""
    return RejectedFilm(ref=ref, reason=error.reason, message=str(error))


def _fault(ref: ImageRef, error: Exception, reason: Reason, expected: str) -> FilmError:
    """Log where an unexpected error was raised and return the reject. Its message is dropped: it may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind = type(error).__name__
    _log.error("unexpected %s at %s:%s while scoring %s", kind, frame.filename, frame.lineno, ref.uri)
    return FilmError(reason, expected=expected, got=f"an unexpected {kind}")
