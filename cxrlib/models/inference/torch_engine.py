"""Run a bundle's networks with torch, on a GPU or a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch

from cxrlib.errors import UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.devices import choose_device
from cxrlib.models.inference.precision import choose_precision
from cxrlib.models.inference.torch_network import TorchNetwork, build_networks
from cxrlib.parallel.cores import cores

#: Exceptions that mean that memory ran out, on a GPU or a CPU.
OUT_OF_MEMORY: Final = (torch.OutOfMemoryError, MemoryError)
#: Batches that are on a GPU at a time. The table of `cxrlib.models.inference.forward_batch` counts on it.
_BATCHES_ON_GPU: Final = 2


class TorchEngine(BatchedEngine):
    """A bundle's networks, loaded once on one device, run by torch.

    On a GPU, two threads run batches, each on a CUDA stream of its own. While one batch computes, the other is padded,
    copied to the GPU or back, or cleaned for the next network of a cascade. What a thread queues runs in order, so no
    thread waits for the other's. A batch computes the same on either stream: cuBLAS is reproducible if each stream has
    its own workspace (cuBLAS documentation, Results reproducibility), which torch provides.

    Parameters
    ----------
    bundle, device, precision, forward_batch, compile_networks
        As for `cxrlib.models.inference.choose_engine.load_engine`.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    UsageError
        There is no such device, or the networks cannot be compiled.
    """

    out_of_memory = OUT_OF_MEMORY

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        precision: str = "auto",
        forward_batch: int | None = None,
        compile_networks: bool = False,
    ) -> None:
        self.device = choose_device(device)
        on_gpu = self.device != "cpu"
        chosen = choose_precision(precision, self.device)
        if on_gpu:
            _compute_reproducibly()
        networks = build_networks(bundle, self.device, chosen)
        if on_gpu and compile_networks:
            _compile(networks, forward_batch or bundle.card.input.batch)
        super().__init__(
            bundle.card,
            BundleInference(bundle.card, networks),
            engine="torch.compile" if on_gpu and compile_networks else "torch",
            precision=chosen,
            forward_batch=forward_batch,
            device_name=self.device,
            threads=_BATCHES_ON_GPU if on_gpu else cores(),
            prepare_thread=self._use_own_stream if on_gpu else use_one_torch_thread,
        )

    def free_memory(self) -> None:
        """Return the GPU memory that torch caches for reuse to the device."""
        if self.device != "cpu":
            torch.cuda.empty_cache()

    def _use_own_stream(self) -> None:
        """Let the calling thread queue its work on a stream of its own, after the copies of the weights."""
        use_one_torch_thread()
        stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.default_stream(self.device))
        torch.cuda.set_stream(stream)


def _compute_reproducibly() -> None:
    """Let cuDNN choose its algorithms by the shape alone, and let float32 be float32 (its default is TF32).

    A row's bits then do not depend on what the other thread does.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False


def _compile(networks: Sequence[TorchNetwork], batch: int) -> None:
    """Compile the networks now: an error in a run's first batch would count against its films."""
    for network in networks:
        try:
            network.compile(batch)
        except OUT_OF_MEMORY:
            torch.cuda.empty_cache()  # the engine halves its batch when it meets the same
        except RuntimeError as error:
            raise UsageError(
                f"run.compile_networks: expected a network that torch can compile on this machine; network "
                f"{network.spec.name} got {type(error).__name__}: run without it"
            ) from error


def use_one_torch_thread() -> None:
    """Let torch use only the calling thread."""
    torch.set_num_threads(1)
