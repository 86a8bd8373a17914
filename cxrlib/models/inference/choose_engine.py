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
        ``torch``, ``openvino`` (CPUs only), or ``auto``, which is torch on every machine, so that rows do not depend on
        what is installed.
    device, precision, cache_graphs
        As for `TorchEngine`.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    UsageError
        The engine is not installed, or cannot use the device or the precision.
    """
    if engine != "openvino":
        from cxrlib.models.inference.torch_engine import TorchEngine  # noqa: PLC0415 - torch costs seconds and memory

        return TorchEngine(bundle, device=device, precision=precision, cache_graphs=cache_graphs)
    if device not in {"auto", "cpu"}:
        raise UsageError(f"engine: openvino runs on the CPU only; got device {device!r}")
    if find_spec("openvino") is None:
        raise UsageError("engine: OpenVINO is not installed; install it with pip install 'cxr-batch[openvino]'")
    from cxrlib.models.inference.openvino_engine import OpenVinoEngine  # noqa: PLC0415 - an optional dependency

    return OpenVinoEngine(bundle, precision=precision, cache_graphs=cache_graphs)
