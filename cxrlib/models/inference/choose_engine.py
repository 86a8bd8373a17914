"""Choose the engine that runs a bundle's networks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from cxrlib.errors import UsageError
from cxrlib.models.bundle import Bundle

if TYPE_CHECKING:
    from cxrlib.models.inference.batched_engine import BatchedEngine


def load_engine(
    bundle: Bundle, *, engine: str = "auto", device: str = "auto", precision: str = "auto", cache_graphs: bool = False
) -> BatchedEngine:
    """Load a bundle's networks into an engine.

    Parameters
    ----------
    bundle : Bundle
    engine : str
        ``torch``, ``openvino`` (CPUs only), or ``auto``: OpenVINO on a CPU if it is installed, torch otherwise.
    device, precision, cache_graphs
        As for `TorchEngine`.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    UsageError
        The engine is not installed, or cannot use the device or the precision.
    """
    from cxrlib.models.inference.engine import TorchEngine  # noqa: PLC0415 - torch costs seconds and memory

    if engine == "openvino":
        if device not in {"auto", "cpu"}:
            raise UsageError(f"engine: openvino runs on the CPU only; got device {device!r}")
        if find_spec("openvino") is None:
            raise UsageError("engine: OpenVINO is not installed; install it with pip install 'cxr-batch[openvino]'")
    elif engine == "torch" or precision == "fp16" or not _fits_openvino(device):
        return TorchEngine(bundle, device=device, precision=precision, cache_graphs=cache_graphs)
    from cxrlib.models.inference.openvino_engine import OpenVinoEngine  # noqa: PLC0415 - an optional dependency

    return OpenVinoEngine(bundle, precision=precision, cache_graphs=cache_graphs)


def _fits_openvino(device: str) -> bool:
    from cxrlib.models.inference.hardware import choose_device  # noqa: PLC0415 - torch costs seconds and memory

    return find_spec("openvino") is not None and choose_device(device).type == "cpu"
