"""Choose the engine that runs a bundle's networks: OpenVINO on CPUs, torch on CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr_schemas.card import NetworkSpec
from cxrlib.errors import UsageError
from cxrlib.extras import is_installed, require
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.devices import check_device_name, choose_device, has_cuda_driver
from cxrlib.models.inference.outputs import NEEDS_GRADIENTS, NO_GRAPH

if TYPE_CHECKING:
    from cxrlib.models.inference.batched_engine import BatchedEngine


def load_engine(
    bundle: Bundle,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    forward_batch: int | None = None,
    compile_networks: bool = False,
) -> BatchedEngine:
    """Load a bundle's networks into an engine.

    Parameters
    ----------
    bundle : Bundle
    engine : str
        ``openvino`` (CPUs only), ``torch``, or ``auto``: OpenVINO on CPUs, torch on CUDA.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.
    forward_batch : int or None
        Films per forward pass; None for the card's number.
    compile_networks : bool
        Compile the networks (`torch.compile`), on CUDA only. It changes their last bits.

    Raises
    ------
    BundleError
        A network's weights do not fit its architecture, or its outputs are not those of the card.
    UsageError
        The engine is not installed (`MissingExtraError`), or cannot use the device or the precision.
    """
    if engine == "openvino" and device not in {"auto", "cpu"}:
        raise _cpu_only(device)
    if engine == "torch" or (engine == "auto" and choose_device(device) != "cpu"):
        require("the engine torch", "gpu")
        from cxrlib.models.inference.torch_engine import TorchEngine  # noqa: PLC0415 - torch costs seconds and memory

        return TorchEngine(
            bundle,
            device=device,
            precision=precision,
            forward_batch=forward_batch,
            compile_networks=compile_networks,
        )
    from cxrlib.models.inference.openvino_engine import OpenVinoEngine  # noqa: PLC0415 - as for torch

    return OpenVinoEngine(bundle, precision=precision, forward_batch=forward_batch)


def engine_on_cpu(bundle: Bundle, network: NetworkSpec) -> str:
    """Return which engine runs a network on a CPU, and why it is torch, as a phrase.

    A network whose graph the bundle does not hold is converted to find out.
    """
    if bundle.card.explains(network):
        return f"torch, because {NEEDS_GRADIENTS}"
    if bundle.graph(network) is not None:
        return "OpenVINO"
    if not (is_installed("torch") and is_installed("openvino")):
        return "unknown: the bundle has no graph of it, and torch and OpenVINO are not both installed"
    from cxrlib.models.inference.openvino_graph import ConversionError  # noqa: PLC0415 - as for torch
    from cxrlib.models.inference.openvino_network import find_graph  # noqa: PLC0415

    try:
        find_graph(bundle, network)
    except ConversionError as error:
        return f"torch, because OpenVINO cannot run it: {error}"
    return "OpenVINO, after torch has converted it at each start"


def check_engine(bundle: Bundle, *, engine: str = "auto", device: str = "auto", precision: str = "auto") -> None:
    """Check what can be known of an engine before a run is planned: a worker could only fail with an open run.

    Parameters
    ----------
    bundle : Bundle
    engine, precision : str
        As for `load_engine`.
    device : str
        As for `load_engine`, or ``cuda:all``.

    Raises
    ------
    UsageError
        There is no such device, the engine cannot use it or the precision, or a library is not installed
        (`MissingExtraError`).
    """
    check_device_name(device)
    if engine == "openvino" and device not in {"auto", "cpu"}:
        raise _cpu_only(device)
    on_cpu = device == "cpu" or (device == "auto" and not has_cuda_driver())
    if precision == "fp16" and (engine == "openvino" or (engine == "auto" and on_cpu)):
        raise UsageError("precision: on a CPU, OpenVINO computes in fp32 or bf16; got fp16")
    if is_installed("torch"):
        return
    if engine == "torch" or device not in {"auto", "cpu"}:
        require("the engine torch" if engine == "torch" else f"the device {device}", "gpu")
    for network in bundle.card.networks:
        if bundle.card.explains(network):
            require(f"network {network.name} ({NEEDS_GRADIENTS})", "gpu")
        if bundle.graph(network) is None:
            require(f"network {network.name} ({NO_GRAPH})", "gpu")


def _cpu_only(device: str) -> UsageError:
    return UsageError(f"engine: openvino runs on the CPU only; got device {device!r}")
