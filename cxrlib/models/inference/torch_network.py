"""One network of a bundle: build it, load its weights, check its outputs, and run it on a batch of films."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxr_schemas.card import BundleInput, NetworkSpec
from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference import graph_cache
from cxrlib.models.inference.graph import NetworkGraph
from cxrlib.models.inference.hardware import Precision
from cxrlib.models.inference.outputs import NetworkOutput, check_shapes, describe

if TYPE_CHECKING:
    from cxrlib.models.inference.gradcam import Explainer

#: Errors that a forward pass raises if a network's card and its architecture do not agree.
MISMATCH_ERRORS: Final = (RuntimeError, ValueError, TypeError, AssertionError, KeyError, IndexError)


class TorchNetwork:
    """A network of a bundle on one device, in one precision, ready to run.

    Parameters
    ----------
    bundle : Bundle
    spec : NetworkSpec
        One of the networks of the bundle's card.
    device : torch.device
    precision : Precision
    cache_graph : bool
        Run the network's recorded graph instead of its modules: load it from the disk cache, or record and store it.
        It gives the same bits. Only for networks on a CPU that are not explained.

    Attributes
    ----------
    spec : NetworkSpec
    input : BundleInput
        The bundle's input, changed as this network's card entry says.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, or the outputs are not those of the card.
    """

    def __init__(
        self,
        bundle: Bundle,
        spec: NetworkSpec,
        device: torch.device,
        precision: Precision,
        *,
        cache_graph: bool = False,
    ) -> None:
        card = bundle.card
        self.spec = spec
        self.input: BundleInput = card.input_of(spec)
        self._weights = bundle.weights(spec)
        self._device = device
        self._precision = precision
        self._explainer: Explainer | None = None
        self._build_lock = threading.Lock()
        self._module: nn.Module | None = None
        self._graph: NetworkGraph | None = None
        explained = card.localisation if card.localisation and card.localisation.network == spec.name else None
        self._explained_layer = explained.layer if explained else None
        key = None
        if cache_graph and self._explained_layer is None and device.type == "cpu":
            key = graph_cache.key(bundle.digest, spec.name, precision.value, card.input.batch)
            self._graph = graph_cache.load(key)
        if self._graph is None:
            self._module = self._build()
            if self._explained_layer is not None:
                from cxrlib.models.inference.gradcam import Explainer  # noqa: PLC0415 - Captum takes seconds, few bundles use it

                self._explainer = Explainer(self._module, self._explained_layer)
            self._check_outputs(len(card.classes))
        if key is not None and self._graph is None:
            black = np.zeros((card.input.batch, self.input.rows, self.input.columns), np.float32)
            self._graph = NetworkGraph.record(self._logits, self.to_tensor(black))
            if self._graph is not None:
                graph_cache.store(key, self._graph)

    def _build(self) -> nn.Module:
        """Build the module with its weights on its device, and fuse its layers. May be called once."""
        from cxrlib.models.inference.fused import can_fuse, compute_first_in_float32, fuse  # noqa: PLC0415 - imports timm

        loaded = load_network(self.spec, self._weights).requires_grad_(False)
        self._weights = b""  # freed here, because weights are large and a network is built once
        module: nn.Module = loaded.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (1, 1, self.input.rows, self.input.columns)
        # A network that cannot be traced runs unfused. If it does not fit its card, `_check_outputs` reports it.
        with suppress(*MISMATCH_ERRORS):
            if self._explained_layer is None and can_fuse(self._device, self._precision.dtype):
                fuse(module, shape, self._precision.dtype)
            elif self._precision is not Precision.FP32:
                compute_first_in_float32(module, shape, self._device)
        return module

    def to_tensor(self, films: NDArray[np.float32]) -> Tensor:
        """Return films as this network reads them: (films, 1, rows, columns), normalised, on its device."""
        film = torch.from_numpy(films[:, None]).to(self._device).contiguous(memory_format=torch.channels_last)
        return (film - self.input.mean) / self.input.std

    def run(self, films: Tensor) -> NetworkOutput:
        """Run the network on a batch that `to_tensor` made."""
        attribution: Tensor | None = None
        if self._explainer is not None:
            with self._autocast():
                logits, attribution = self._explainer(films)
        else:
            graph = self._graph
            with torch.inference_mode():
                fits = graph is not None and graph.shape == films.shape
                logits = graph(films) if graph is not None and fits else self._logits(films)
        return NetworkOutput(
            probabilities={output: _to_probability(output, logits[output]) for output in self.spec.outputs},
            attribution=None if attribution is None else attribution.float().cpu().numpy(),
        )

    def _logits(self, films: Tensor) -> dict[str, Tensor]:
        """Run the module. It is built here if only its graph was needed until now."""
        with self._build_lock:
            if self._module is None:
                self._module = self._build()
        with self._autocast():
            logits: dict[str, Tensor] = self._module(films)
        return logits

    def _autocast(self) -> torch.autocast:
        enabled = self._precision is not Precision.FP32
        return torch.autocast(self._device.type, dtype=self._precision.dtype, enabled=enabled)

    def _check_outputs(self, classes: int) -> None:
        """Run one black film, so that a card that does not fit its network stops the run before the first film."""
        rows, columns = self.input.rows, self.input.columns
        try:
            found = self.run(self.to_tensor(np.zeros((1, rows, columns), np.float32)))
        except torch.OutOfMemoryError:
            raise
        except MISMATCH_ERRORS as error:
            raise BundleError(
                f"{describe(self.spec, self.input)}: expected outputs {', '.join(self.spec.outputs)}; "
                f"got {type(error).__name__}: {error}"
            ) from error
        check_shapes(self.spec, self.input, classes, {name: each.shape for name, each in found.probabilities.items()})


def build_networks(
    bundle: Bundle, device: torch.device, precision: Precision, *, cache_graphs: bool = False
) -> list[TorchNetwork]:
    """Return all networks of a bundle on one device. Parameters are those of `TorchNetwork`."""
    return [TorchNetwork(bundle, spec, device, precision, cache_graph=cache_graphs) for spec in bundle.card.networks]


def load_network(spec: NetworkSpec, weights: bytes) -> nn.Module:
    """Build a network of a card and load its safetensors weights. It is float32 and in evaluation mode.

    Raises
    ------
    BundleError
        A weight is missing, superfluous, of another shape or not finite.
    """
    module = find_architecture(spec.architecture).build(spec.arguments)
    try:
        module.load_state_dict(safetensors.torch.load(weights), strict=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"network {spec.name}: its weights do not fit {spec.architecture}: {error}") from error
    if not_finite := [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]:
        raise BundleError(f"network {spec.name}: expected finite weights; got NaN or infinity in {not_finite[0]}")
    return module.float().eval()


def _to_probability(output: str, logits: Tensor) -> NDArray[np.float32]:
    raw = logits.float()
    probability = torch.softmax(raw, dim=1) if output == "classes" else torch.sigmoid(raw)
    return probability.cpu().numpy()
