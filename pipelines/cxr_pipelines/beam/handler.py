"""The networks as a Beam model handler: rejects pass by, films go to the engine, in one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from cxr_pipelines.elements import Inferred, InferredFilm, ReadFilm
from cxr_pipelines.inference import Engine, EngineFactory
from cxrlib.errors import FilmError
from cxrlib.types import CxrImage, Prediction


class CxrModelHandler(ModelHandler[ReadFilm, InferredFilm, Engine]):
    """Runs a bundle's networks over batches of films.

    Parameters
    ----------
    engine : callable
        Makes the engine; called once per process, since Beam shares the model between its threads.
    batch_size : int
        Films handed over at a time. It cannot change a row: the engine computes in batches of its own fixed size.
    """

    def __init__(self, engine: EngineFactory, batch_size: int) -> None:
        super().__init__()
        self._engine = engine
        self._batch_size = batch_size

    def load_model(self) -> Engine:
        """Make the engine."""
        return self._engine()

    def run_inference(
        self, batch: Sequence[ReadFilm], model: Engine, inference_args: dict[str, Any] | None = None
    ) -> list[InferredFilm]:
        """Return each film with its prediction, or the error it came with or met here, in the order of `batch`."""
        images = [film.outcome for film in batch if isinstance(film.outcome, CxrImage)]
        predictions = iter(model.predict(images) if images else ())
        return [InferredFilm(film.chunk, film.ref, _joined(film.outcome, predictions)) for film in batch]

    def get_num_bytes(self, batch: Sequence[ReadFilm]) -> int:
        """Return the bytes of the pixels. Beam's own answer pickles the whole batch to measure it."""
        return sum(int(film.outcome.pixels.nbytes) for film in batch if isinstance(film.outcome, CxrImage))

    def get_metrics_namespace(self) -> str:
        """Return the name under which Beam counts batches and times."""
        return "cxr"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Return a fixed size, so that Beam does not search for one by varying it."""
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}


def _joined(outcome: CxrImage | FilmError, predictions: Iterator[Prediction | FilmError]) -> Inferred | FilmError:
    """Return the next prediction beside the film it is of; a film that was not read takes none."""
    if isinstance(outcome, FilmError):
        return outcome
    prediction = next(predictions)
    return prediction if isinstance(prediction, FilmError) else Inferred(outcome, prediction)
