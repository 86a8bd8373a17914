"""The networks as a Beam model handler: films go to the engine and rejects pass unchanged, in one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from apache_beam.ml.inference.base import ModelHandler

from cxr_pipelines.elements import Inferred, InferredFilm, ReadFilm
from cxr_pipelines.engine_factory import Engine, EngineFactory
from cxrlib.errors import FilmError
from cxrlib.types import CxrImage, Prediction


class CxrModelHandler(ModelHandler[ReadFilm, InferredFilm, Engine]):
    """Runs a bundle's networks over batches of films.

    Parameters
    ----------
    engine : callable
        Makes the engine. Called once per process: Beam shares the model among its threads.
    batch_size : int
        Films given to the engine at a time. It cannot change a row: the engine splits them into batches of a fixed
        size.
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
        """Return each film with its prediction or its error, in the order of `batch`."""
        images = [film.outcome for film in batch if isinstance(film.outcome, CxrImage)]
        predictions = iter(model.predict(images) if images else ())
        return [InferredFilm(film.chunk, film.ref, _joined(film.outcome, predictions)) for film in batch]

    def get_num_bytes(self, batch: Sequence[ReadFilm]) -> int:
        """Return the bytes of the pixels. Beam's default would pickle the whole batch to measure it."""
        return sum(int(film.outcome.pixels.nbytes) for film in batch if isinstance(film.outcome, CxrImage))

    def get_metrics_namespace(self) -> str:
        """Return the namespace of Beam's metrics."""
        return "cxr"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Return a fixed batch size, so that Beam does not vary it to find the best."""
        return {"min_batch_size": self._batch_size, "max_batch_size": self._batch_size}


def _joined(outcome: CxrImage | FilmError, predictions: Iterator[Prediction | FilmError]) -> Inferred | FilmError:
    """Return the film with the next prediction; a film that was not read has none."""
    if isinstance(outcome, FilmError):
        return outcome
    prediction = next(predictions)
    return prediction if isinstance(prediction, FilmError) else Inferred(outcome, prediction)
