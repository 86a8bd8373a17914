"""Run a bundle's networks with torch, on a CPU or a GPU."""

from __future__ import annotations

import torch

from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.hardware import choose_device, choose_precision, free_cached_memory
from cxrlib.models.inference.torch_network import build_networks
from cxrlib.parallel.cores import cores


class TorchEngine(BatchedEngine):
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

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    """

    out_of_memory = (torch.OutOfMemoryError, MemoryError)

    def __init__(
        self, bundle: Bundle, *, device: str = "auto", precision: str = "auto", cache_graphs: bool = False
    ) -> None:
        self.device = choose_device(device)
        chosen = choose_precision(precision, self.device)
        networks = build_networks(bundle, self.device, chosen, cache_graphs=cache_graphs)
        super().__init__(
            bundle.card,
            BundleInference(bundle.card, networks),
            precision=chosen,
            device_name=str(self.device),
            threads=cores() if self.device.type == "cpu" else 0,
            prepare_thread=use_one_torch_thread,
        )

    def free_memory(self) -> None:
        """Return the GPU memory that torch caches for reuse to the device."""
        free_cached_memory(self.device)


def use_one_torch_thread() -> None:
    """Let torch use only the calling thread."""
    torch.set_num_threads(1)
