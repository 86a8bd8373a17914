"""Run a bundle's networks with OpenVINO, on a CPU. A network that OpenVINO cannot run is run by torch."""

from __future__ import annotations

import logging
from functools import cache

from cxr_schemas.card import NetworkSpec
from cxrlib.errors import UsageError
from cxrlib.extras import require
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.openvino_graph import ConversionError
from cxrlib.models.inference.openvino_library import core
from cxrlib.models.inference.openvino_network import OpenVinoNetwork
from cxrlib.models.inference.outputs import NEEDS_GRADIENTS, Network
from cxrlib.models.inference.precision import Precision, choose_precision
from cxrlib.parallel.cores import cores

_LOG = logging.getLogger(__name__)


class OpenVinoEngine(BatchedEngine):
    """A bundle's networks, loaded once, run by OpenVINO on the CPU.

    torch runs a network that OpenVINO cannot convert, and one that the card explains (Grad-CAM needs gradients); a log
    line says so, once per process.

    Parameters
    ----------
    bundle : Bundle
    precision : str
        ``auto``, ``fp32`` or ``bf16``.
    forward_batch : int or None
        Films per forward pass; None for the card's number.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    MissingExtraError
        A network needs torch, which is not installed.
    UsageError
        OpenVINO does not compute in this precision on this CPU.
    """

    def __init__(self, bundle: Bundle, *, precision: str = "auto", forward_batch: int | None = None) -> None:
        chosen = choose_precision(precision, "cpu")
        capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if chosen is Precision.FP16 or (chosen is Precision.BF16 and "BF16" not in capabilities):
            raise UsageError(f"precision: OpenVINO has no {chosen} on this CPU; use fp32, or the engine torch")
        batch = forward_batch or bundle.card.input.batch
        networks = [_load(bundle, spec, chosen, batch) for spec in bundle.card.networks]
        prepare_thread = None
        if any(not isinstance(network, OpenVinoNetwork) for network in networks):
            from cxrlib.models.inference import torch_engine  # noqa: PLC0415 - torch is imported already

            self.out_of_memory = torch_engine.OUT_OF_MEMORY
            prepare_thread = torch_engine.use_one_torch_thread
        super().__init__(
            bundle.card,
            BundleInference(bundle.card, networks),
            engine="+".join(sorted({_name(network) for network in networks})),
            precision=chosen,
            forward_batch=forward_batch,
            device_name="cpu",
            threads=cores(),
            prepare_thread=prepare_thread,
        )


def _name(network: Network) -> str:
    return "openvino" if isinstance(network, OpenVinoNetwork) else "torch"


def _load(bundle: Bundle, spec: NetworkSpec, precision: Precision, batch: int) -> Network:
    reason = NEEDS_GRADIENTS
    if not bundle.card.explains(spec):
        try:
            return OpenVinoNetwork(bundle, spec, precision, batch)
        except ConversionError as error:
            reason = f"OpenVINO cannot run it: {error}"
    require(f"network {spec.name} ({reason})", "gpu")
    _log_once(f"network {spec.name} runs on torch, because {reason}")
    from cxrlib.models.inference.torch_network import TorchNetwork  # noqa: PLC0415 - takes seconds

    return TorchNetwork(bundle, spec, "cpu", precision)


@cache
def _log_once(text: str) -> None:
    _LOG.warning(text)
