"""Run a bundle's networks on films, in batches of one fixed size.

A film's outputs are bit-identical at any place in a batch and beside any other films, but not across batch sizes: bf16
logits then differ by up to 0.02. So every forward pass has as many films as the card states, and the last batch is
padded with black films. How many films arrive at a time changes nothing.

On a CPU, batches run in parallel, each in one thread. Splitting one batch over all cores would make each core wait for
the slowest one at every layer, longest while other cores decode films. It would also make the bits depend on the number
of threads (measured: the bf16 logits of three threads differ from those of one, two and four).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import torch
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.measuring.localisation import to_cells
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.hardware import choose_device, choose_precision, free_cached_memory
from cxrlib.parallel.cores import cores
from cxrlib.types import CxrImage, Prediction

_LOG = logging.getLogger(__name__)


class TorchEngine:
    """A bundle's networks, loaded once on one device, run by torch.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    cache_graphs : bool
        Store the recorded graphs of the networks on disk, and load those that are stored: later engines then start
        faster.

    Notes
    -----
    When memory runs out, the engine halves its batch for the rest of its life and logs a warning. A film's
    probabilities may then differ by up to 0.01 from those of a full batch.
    """

    def __init__(
        self, bundle: Bundle, *, device: str = "auto", precision: str = "auto", cache_graphs: bool = False
    ) -> None:
        self.card = bundle.card
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch = bundle.card.input.batch
        self._inference = BundleInference(bundle, self.device, self.precision, cache_graphs=cache_graphs)
        self._threads: ThreadPoolExecutor | None = None
        if self.device.type == "cpu":
            self._threads = ThreadPoolExecutor(cores(), "networks", torch.set_num_threads, (1,))

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one result per film, in order: its prediction, or why the networks failed on this film.

        Raises
        ------
        MemoryError, torch.OutOfMemoryError
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
            batches = [films[start : start + self.batch] for start in range(0, len(films), self.batch)]
            try:
                return [result for results in self._predict_batches(batches) for result in results]
            except (torch.OutOfMemoryError, MemoryError):
                if self.batch == 1:
                    raise
                size, self.batch = self.batch, max(1, self.batch // 2)
                free_cached_memory(self.device)
                _LOG.warning("out of memory with %d films on %s; continuing with %d", size, self.device, self.batch)

    def _predict_batches(self, batches: Sequence[Sequence[NDArray[np.float32]]]) -> list[list[Prediction | FilmError]]:
        """Predict all batches; on a CPU in parallel."""
        if self._threads is None:
            return [self._bisect(batch) for batch in batches]
        futures = [self._threads.submit(self._bisect, batch) for batch in batches]
        wait(futures)  # if one ran out of memory, the others must free theirs before a smaller batch is tried
        return [future.result() for future in futures]

    def _bisect(self, films: Sequence[NDArray[np.float32]]) -> list[Prediction | FilmError]:
        """Predict a batch; if that fails, halve it until the film that causes the failure is alone."""
        try:
            return list(self._forward(films))
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except RuntimeError as error:
            if "not enough memory" in str(error):  # the CPU allocator raises this instead of OutOfMemoryError
                raise MemoryError(str(error)) from error
            if len(films) == 1:
                got = f"{type(error).__name__} in the forward pass"
                return [FilmError(Reason.MODEL_FAILED, expected="a forward pass that ends", got=got)]
            middle = len(films) // 2
            return [*self._bisect(films[:middle]), *self._bisect(films[middle:])]

    def _forward(self, films: Sequence[NDArray[np.float32]]) -> Iterator[Prediction | FilmError]:
        output = self._inference.run(films, self.batch)
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
            )
