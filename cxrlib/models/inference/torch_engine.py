"""Run a bundle's networks with torch, on a GPU or a CPU."""

from __future__ import annotations

from typing import Final

import torch

from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.devices import choose_device
from cxrlib.models.inference.precision import choose_precision
from cxrlib.models.inference.torch_network import build_networks
from cxrlib.parallel.cores import cores

#: Exceptions that mean that memory ran out, on a GPU or a CPU.
OUT_OF_MEMORY: Final = (torch.OutOfMemoryError, MemoryError)


class TorchEngine(BatchedEngine):
    """A bundle's networks, loaded once on one device, run by torch.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    forward_batch : int or None
        Films per forward pass; None for the card's number.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    """

    out_of_memory = OUT_OF_MEMORY

    def __init__(
        self, bundle: Bundle, *, device: str = "auto", precision: str = "auto", forward_batch: int | None = None
    ) -> None:
        self.device = choose_device(device)
        chosen = choose_precision(precision, self.device)
        networks = build_networks(bundle, self.device, chosen)
        super().__init__(
            bundle.card,
            BundleInference(bundle.card, networks),
            precision=chosen,
            forward_batch=forward_batch,
            device_name=self.device,
            threads=cores() if self.device == "cpu" else 0,
            prepare_thread=use_one_torch_thread,
        )

    def free_memory(self) -> None:
        """Return the GPU memory that torch caches for reuse to the device."""
        if self.device != "cpu":
            torch.cuda.empty_cache()


def use_one_torch_thread() -> None:
    """Let torch use only the calling thread."""
    torch.set_num_threads(1)
