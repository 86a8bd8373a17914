"""The networks as a Beam model handler: rejects pass by, films go to the engine, in one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from apache_beam.ml.inference.base import ModelHandler

from cxrlib.bundle import load_bundle
from cxrlib.errors import BundleError, FilmError, RunError
from cxrlib.runs import versions
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, Prediction
from pipelines.elements import Inferred, InferredFilm, ReadFilm


class Engine(Protocol):
    """What the handler needs of `cxrlib.models.engine.Engine`."""

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one prediction, or the error of that film alone, per image, in order."""
        ...


EngineFactory = Callable[[], Engine]


@dataclass(frozen=True, slots=True)
class BundleEngine:
    """Makes the engine of a bundle, in the process that will run it. Torch is imported there and nowhere before.

    Attributes
    ----------
    settings : Settings
        Bundle, device and precision.
    digest : str
        Digest the bundle must have: the one that stands in the rows.
    versions : dict of str to str
        What the worker must have installed: what whoever planned the run has, or the rows may not be the same.
    """

    settings: Settings
    digest: str
    versions: dict[str, str] = field(default_factory=versions.environment, hash=False)

    def __call__(self) -> Engine:
        """Load the bundle and build its engine.

        Raises
        ------
        RunError
            This process has other versions installed.
        BundleError
            The bundle cannot be loaded, or is another.
        """
        if differ := versions.differences(self.versions):
            raise RunError(f"expected a worker with the versions that the run was planned with; met {differ}")
        bundle = load_bundle(self.settings.bundle)
        if bundle.digest != self.digest:
            raise BundleError(
                f"bundle {self.settings.bundle}: expected digest {self.digest} as planned; met {bundle.digest}"
            )

        from cxrlib.models.engine import Engine as TorchEngine  # noqa: PLC0415 - torch costs seconds and memory

        return TorchEngine(bundle, device=self.settings.run.device, precision=self.settings.run.precision)


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
