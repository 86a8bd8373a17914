"""Run a bundle's networks with OpenVINO, on a CPU. A network that OpenVINO cannot run is run by torch."""

from __future__ import annotations

import logging

import torch

from cxr_schemas.card import NetworkSpec
from cxrlib.errors import UsageError
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.hardware import Precision, choose_precision
from cxrlib.models.inference.openvino_graph import ConversionError, core
from cxrlib.models.inference.openvino_network import OpenVinoNetwork
from cxrlib.models.inference.outputs import Network
from cxrlib.models.inference.torch_engine import use_one_torch_thread
from cxrlib.models.inference.torch_network import TorchNetwork
from cxrlib.parallel.cores import cores

_LOG = logging.getLogger(__name__)
_CPU = torch.device("cpu")


class OpenVinoEngine(BatchedEngine):
    """A bundle's networks, loaded once, run by OpenVINO on the CPU.

    A network that OpenVINO cannot convert, and one that the card explains (Grad-CAM needs gradients), is run by torch;
    a log line says so.

    Parameters
    ----------
    bundle : Bundle
    precision : str
        ``auto``, ``fp32`` or ``bf16``.
    cache_graphs : bool
        Store the converted graphs on disk, and load those that are stored: later engines then start faster.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    UsageError
        OpenVINO does not compute in this precision on this CPU.
    """

    out_of_memory = (torch.OutOfMemoryError, MemoryError)

    def __init__(self, bundle: Bundle, *, precision: str = "auto", cache_graphs: bool = False) -> None:
        chosen = choose_precision(precision, _CPU)
        capabilities = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if chosen is Precision.FP16 or (chosen is Precision.BF16 and "BF16" not in capabilities):
            raise UsageError(f"precision: OpenVINO has no {chosen} on this CPU; use fp32 or the engine torch")
        networks = [_load(bundle, spec, chosen, cache_graphs=cache_graphs) for spec in bundle.card.networks]
        super().__init__(
            bundle.card,
            BundleInference(bundle.card, networks),
            precision=chosen,
            device_name="cpu",
            threads=cores(),
            prepare_thread=use_one_torch_thread,
        )


def _load(bundle: Bundle, spec: NetworkSpec, precision: Precision, *, cache_graphs: bool) -> Network:
    explained = bundle.card.localisation
    if explained is not None and explained.network == spec.name:
        _LOG.info("network %s runs on torch, because its localisation maps need gradients", spec.name)
    else:
        try:
            return OpenVinoNetwork(bundle, spec, precision, cache_graph=cache_graphs)
        except ConversionError as error:
            _LOG.warning("network %s runs on torch, because OpenVINO cannot run it: %s", spec.name, error)
    return TorchNetwork(bundle, spec, _CPU, precision, cache_graph=cache_graphs)
