"""The steps that one film goes through besides the networks: read before them, clean and measure after them.

Each gives its result or the `FilmError` that stopped it, never an exception: in a batch of a million, a film that finds
a fault of ours must cost itself and no other.
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
from cxrlib.archive.filesystems import is_of_this_process
from cxrlib.errors import FilmError
from cxrlib.measuring.localisation import localisation_map
from cxrlib.measuring.masks import clean
from cxrlib.measuring.severity import measure
from cxrlib.parallel.work import Loss, Lost
from cxrlib.reading.read import read_film
from cxrlib.results.row_tables import RejectedFilm
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef, Prediction, ScoredFilm

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ScoringParameters:
    """What of a bundle's card the steps around its networks need.

    Attributes
    ----------
    rows, columns : int
        Grid that the networks read.
    postprocess : Postprocess
    grades : GradeCuts
    localisation_threshold : float or None
        Above which the localisation map counts; None where the bundle localises nothing.
    """

    rows: int
    columns: int
    postprocess: Postprocess
    grades: GradeCuts
    localisation_threshold: float | None = None

    @classmethod
    def of(cls, card: Card) -> ScoringParameters:
        """Return the recipe of a card."""
        threshold = None if card.localisation is None else card.localisation.threshold
        return cls(card.input.rows, card.input.columns, card.postprocess, card.grades, threshold)


@dataclass(frozen=True, slots=True)
class ReadListed:
    """Brings a listed object to what the networks read, or says why that cannot be; `cxrlib.parallel.work.Work` of
    two steps."""

    settings: Settings
    recipe: ScoringParameters

    def __call__(self, ref: ImageRef) -> CxrImage | FilmError:
        """Do both steps in this process, which has to live with what they need of memory and time."""
        try:
            return self.decode(ref, self.fetch(ref))
        except MemoryError:
            return self.lost(ref, Lost(Loss.MEMORY, "the memory of this process"))

    def fetch(self, ref: ImageRef) -> bytes | FilmError:
        """Return the object's bytes."""
        try:
            return fetch(ref, self.settings)
        except FilmError as error:
            return error
        except MemoryError:
            raise
        except Exception as error:
            return _fault(ref, error, Reason.FETCH_FAILED, "an object that can be read")

    def decode(self, ref: ImageRef, fetched: bytes | FilmError) -> CxrImage | FilmError:
        """Return the film of those bytes. Raises MemoryError where there is no room for it."""
        if isinstance(fetched, FilmError):
            return fetched
        try:
            return read_film(fetched, self.settings, self.recipe.rows, self.recipe.columns)
        except FilmError as error:
            return error
        except MemoryError:
            raise
        except Exception as error:
            return _fault(ref, error, Reason.DECODER_FAILED, "a film that can be decoded")

    def lost(self, ref: ImageRef, lost: Lost) -> FilmError:
        """Return the reject of a film that ended its process."""
        match lost.loss:
            case Loss.DIED:
                got = f"a process ended by {lost.detail}, twice"
                return FilmError(Reason.DECODER_DIED, expected="a film that can be decoded", got=got)
            case Loss.MEMORY:
                return FilmError(Reason.OUT_OF_MEMORY, expected=f"a film that takes {lost.detail} at most", got="more")
            case Loss.TIME:
                return FilmError(Reason.TIMEOUT, expected=f"a film read within {lost.detail}", got="none by then")

    def stays(self, ref: ImageRef) -> bool:
        """Return whether the object is in the memory of this process."""
        return is_of_this_process(ref.uri)


def read_listed(ref: ImageRef, settings: Settings, recipe: ScoringParameters) -> CxrImage | FilmError:
    """Fetch one listed object and bring it to what the networks read, or say why that cannot be."""
    return ReadListed(settings, recipe)(ref)


def assess(ref: ImageRef, image: CxrImage, prediction: Prediction, recipe: ScoringParameters) -> ScoredFilm | FilmError:
    """Clean the masks of one film and measure them, or say why they are not to be trusted."""
    try:
        masks = clean(prediction, recipe.postprocess)
        severity = measure(masks, image.pixel_mm2, recipe.grades, _localised(prediction, recipe))
    except FilmError as error:
        return error
    except Exception as error:
        return _fault(ref, error, Reason.MODEL_FAILED, "masks that can be measured")
    return ScoredFilm(ref=ref, image=image, prediction=prediction, masks=masks, severity=severity)


def _localised(prediction: Prediction, recipe: ScoringParameters) -> NDArray[np.bool_] | None:
    """Return where the localisation map exceeds its threshold."""
    found, threshold = localisation_map(prediction), recipe.localisation_threshold
    return None if found is None or threshold is None else found > np.float32(threshold)


def without_pixels(film: ScoredFilm) -> ScoredFilm:
    """Return `film` with its grey values and probability maps replaced by zeros that take no memory.

    A row needs neither, and a film waits for the rest of its chunk: at 256 x 256 it then holds 0.2 MB, not 1 MB.
    """
    blank = np.broadcast_to(np.float32(0), film.image.pixels.shape)
    infection = None if film.prediction.infection is None else blank
    return dataclasses.replace(
        film,
        image=dataclasses.replace(film.image, pixels=blank),
        prediction=dataclasses.replace(film.prediction, lung=blank, infection=infection),
    )


def rejected(ref: ImageRef, error: FilmError) -> RejectedFilm:
    """Return the reject that `error` makes of `ref`."""
    return RejectedFilm(ref=ref, reason=error.reason, message=str(error))


def _fault(ref: ImageRef, error: Exception, reason: Reason, expected: str) -> FilmError:
    """Log where an unforeseen error arose, and make a reject of it. Its text is dropped: it may quote a header."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    kind = type(error).__name__
    _log.error("%s got a fault of this software: %s at %s:%s", ref.uri, kind, frame.filename, frame.lineno)
    return FilmError(reason, expected=expected, got=f"an unforeseen {kind}")
