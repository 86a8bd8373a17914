"""Run a bundle's networks over films in batches of one fixed size.

A film's outputs are bit-equal wherever it stands in a batch and whatever stands beside it, but not across batch sizes
(bf16 logits then move by up to 0.02). So every forward pass has the number of films the card states, the last one
padded with black films, and the size in which films arrive changes nothing.

On a CPU, batches are run beside one another, each in one thread. A batch that is spread over all cores makes each core
wait for the slowest at every layer, longest where others decode films meanwhile; and its bits hang on the number of
threads (measured: the bf16 logits of three threads differ from those of one, two and four).
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
from cxrlib.models.inference.hardware import choose_device, choose_precision, release
from cxrlib.models.inference.system import System
from cxrlib.parallel.cores import cores
from cxrlib.types import CxrImage, Prediction

_LOG = logging.getLogger(__name__)


class TorchEngine:
    """A bundle's networks, loaded once, on one device.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    keep : bool
        Keep networks as they are run here for later engines, which then start sooner, and take those that are kept.

    Notes
    -----
    On out-of-memory the batch is halved for the rest of the engine's life and a warning says so; a film's probabilities
    may then differ within 0.01 from those of a full batch.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", precision: str = "auto", keep: bool = False) -> None:
        self.card = bundle.card
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch = bundle.card.input.batch
        self._system = System(bundle, self.device, self.precision, keep=keep)
        self._threads: ThreadPoolExecutor | None = None
        if self.device.type == "cpu":
            self._threads = ThreadPoolExecutor(cores(), "networks", torch.set_num_threads, (1,))

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one outcome per film, in order: its prediction, or why the networks failed on this film alone.

        Raises
        ------
        MemoryError, torch.OutOfMemoryError
            Not even one film fits the device.
        """
        for image in images:
            expected = (self.card.input.rows, self.card.input.columns)
            if image.pixels.shape != expected:
                raise ValueError(
                    f"expected films of {expected} pixels, as the bundle's card says; got {image.pixels.shape}"
                )
        films = [image.pixels for image in images]
        while True:
            parts = [films[start : start + self.batch] for start in range(0, len(films), self.batch)]
            try:
                return [outcome for outcomes in self._all(parts) for outcome in outcomes]
            except (torch.OutOfMemoryError, MemoryError):
                if self.batch == 1:
                    raise
                size, self.batch = self.batch, max(1, self.batch // 2)
                release(self.device)
                _LOG.warning("out of memory with %d films on %s; going on with %d", size, self.device, self.batch)

    def _all(self, parts: Sequence[Sequence[NDArray[np.float32]]]) -> list[list[Prediction | FilmError]]:
        """Predict all batches, on a CPU beside one another."""
        if self._threads is None:
            return [self._isolating(part) for part in parts]
        begun = [self._threads.submit(self._isolating, part) for part in parts]
        wait(begun)  # where one found no memory, smaller ones are not tried while others still hold it
        return [part.result() for part in begun]

    def _isolating(self, films: Sequence[NDArray[np.float32]]) -> list[Prediction | FilmError]:
        """Predict a batch; where that fails, halve it until the film that makes it fail stands alone."""
        try:
            return list(self._forward(films))
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except RuntimeError as error:
            if "not enough memory" in str(error):  # what the CPU allocator says in place of OutOfMemoryError
                raise MemoryError(str(error)) from error
            if len(films) == 1:
                got = f"{type(error).__name__} in the forward pass"
                return [FilmError(Reason.MODEL_FAILED, expected="a forward pass that ends", got=got)]
            middle = len(films) // 2
            return [*self._isolating(films[:middle]), *self._isolating(films[middle:])]

    def _forward(self, films: Sequence[NDArray[np.float32]]) -> Iterator[Prediction | FilmError]:
        found = self._system.run(films, self.batch)
        for index in range(len(films)):
            # oneDNN's ReLU makes 0 of what is not a number, so that what goes in is looked at too.
            if not (np.isfinite(films[index]).all() and found.finite(index)):
                yield FilmError(Reason.MODEL_FAILED, expected="finite numbers from the networks", got="NaN or infinity")
                continue
            yield Prediction(
                lung=found.lung[index],
                infection=None if found.infection is None else found.infection[index],
                classes=None
                if found.classes is None
                else dict(zip(self.card.classes, found.classes[index].tolist(), strict=True)),
                precision=self.precision.value,
                localisation_cells=None if found.attribution is None else to_cells(found.attribution[index]),
            )
