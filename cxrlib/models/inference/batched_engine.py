"""Run a bundle's networks on films, in batches of one fixed size, whatever engine computes.

A film's outputs are bit-identical at any place in a batch and beside any other films, but not across batch sizes: bf16
logits then differ by up to 0.02. So every forward pass has the same number of films, that of the run's plan, and the
last batch is padded with black films. How many films arrive at a time changes nothing.

On a CPU, batches run in parallel, each in one thread. Splitting one batch over all cores would make each core wait for
the slowest one at every layer, longest while other cores decode films. It would also make the bits depend on the number
of threads (measured with torch: the bf16 logits of three threads differ from those of one, two and four).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card, Reason
from cxrlib.errors import FilmError
from cxrlib.measuring.localisation import to_cells
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.outputs import is_out_of_memory
from cxrlib.models.inference.precision import Precision
from cxrlib.types import CxrImage, Prediction

_LOG = logging.getLogger(__name__)


class BatchedEngine:
    """Predicts films in fixed batches. An engine derives from it and provides the networks.

    Parameters
    ----------
    card : Card
    inference : BundleInference
        The loaded networks.
    engine : str
        Library that runs the networks, as rows state it.
    precision : Precision
    forward_batch : int or None
        Films per forward pass; None for the card's number.
    device_name : str
        ``cpu``, ``cuda`` or ``cuda:N``: where the networks run.
    threads : int
        Batches that run in parallel, each in its own thread; 0 runs them one after another in the calling thread.
    prepare_thread : callable or None
        Called once in each of these threads.

    Notes
    -----
    When memory runs out, the engine halves its batch for the rest of its life and logs a warning. A film's
    probabilities may then differ by up to 0.01 from those of a full batch. Its prediction states the halved number.
    """

    #: Exceptions that mean that memory ran out.
    out_of_memory: tuple[type[Exception], ...] = (MemoryError,)

    def __init__(
        self,
        card: Card,
        inference: BundleInference,
        *,
        engine: str,
        precision: Precision,
        forward_batch: int | None = None,
        device_name: str,
        threads: int,
        prepare_thread: Callable[[], object] | None = None,
    ) -> None:
        self.card = card
        self.engine = engine
        self.precision = precision
        self.batch = forward_batch or card.input.batch
        self._inference = inference
        self.device_name = device_name
        self._threads = ThreadPoolExecutor(threads, "networks", prepare_thread) if threads else None

    def free_memory(self) -> None:
        """Free cached memory before a smaller batch is tried."""

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one result per film, in order: its prediction, or why the networks failed on this film.

        Raises
        ------
        MemoryError or another error of `out_of_memory`
            The device has no memory for a batch of one film.
        """
        for image in images:
            expected = (self.card.input.rows, self.card.input.columns)
            if image.pixels.shape != expected:
                raise ValueError(
                    f"expected films of {expected} pixels, as the bundle's card says; got {image.pixels.shape}"
                )
        films = [image.pixels for image in images]
        while True:
            size = self.batch
            batches = [films[start : start + size] for start in range(0, len(films), size)]
            try:
                return [result for results in self._predict_batches(batches, size) for result in results]
            except self.out_of_memory:
                if size == 1:
                    raise
                self.batch = min(self.batch, size // 2)  # another thread may have halved it already
                self.free_memory()
                _LOG.warning(
                    "out of memory with %d films on %s; continuing with %d", size, self.device_name, self.batch
                )

    def _predict_batches(
        self, batches: Sequence[Sequence[NDArray[np.float32]]], size: int
    ) -> list[list[Prediction | FilmError]]:
        """Predict all batches of at most `size` films, in parallel if there are threads."""
        if self._threads is None:
            return [self._bisect(batch, size) for batch in batches]
        futures = [self._threads.submit(self._bisect, batch, size) for batch in batches]
        wait(futures)  # if one ran out of memory, the others must free theirs before a smaller batch is tried
        return [future.result() for future in futures]

    def _bisect(self, films: Sequence[NDArray[np.float32]], size: int) -> list[Prediction | FilmError]:
        """Predict a batch; if that fails, halve it until the film that causes the failure is alone."""
        try:
            return list(self._forward(films, size))
        except self.out_of_memory:
            raise
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise MemoryError(str(error)) from error
            if len(films) == 1:
                got = f"{type(error).__name__} in the forward pass"
                return [FilmError(Reason.MODEL_FAILED, expected="a forward pass that ends", got=got)]
            middle = len(films) // 2
            return [*self._bisect(films[:middle], size), *self._bisect(films[middle:], size)]

    def _forward(self, films: Sequence[NDArray[np.float32]], size: int) -> Iterator[Prediction | FilmError]:
        output = self._inference.run(films, size)
        for index in range(len(films)):
            # The input is checked too, because oneDNN's ReLU turns NaN into 0.
            if not (np.isfinite(films[index]).all() and output.is_finite(index)):
                yield FilmError(Reason.MODEL_FAILED, expected="finite numbers from the networks", got="NaN or infinity")
                continue
            yield Prediction(
                lung=output.lung[index],
                infection=None if output.infection is None else output.infection[index],
                classes=None
                if output.classes is None
                else dict(zip(self.card.classes, output.classes[index].tolist(), strict=True)),
                precision=self.precision.value,
                localisation_cells=None if output.attribution is None else to_cells(output.attribution[index]),
                forward_batch=size,
                engine=self.engine,
            )
