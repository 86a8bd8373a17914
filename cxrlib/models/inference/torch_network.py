"""One network of a bundle, run by torch: build it, load its weights, check its outputs, run it on batches of films."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

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
from cxrlib.models.inference.outputs import NetworkOutput, check_shapes, describe
from cxrlib.models.inference.precision import Precision

if TYPE_CHECKING:
    from cxrlib.models.inference.gradcam import Explainer

#: Errors that a forward pass raises if a network's card and its architecture do not agree.
MISMATCH_ERRORS: Final = (RuntimeError, ValueError, TypeError, AssertionError, KeyError, IndexError)
_ATTRIBUTION: Final = "attribution"
_DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


class TorchNetwork:
    """A network of a bundle on one device, in one precision, ready to run.

    On a GPU, films and results are copied through pinned memory on the stream of the calling thread, so that threads
    with streams of their own overlap. A result is complete when `run` returns it.

    Parameters
    ----------
    bundle : Bundle
    spec : NetworkSpec
        One of the networks of the bundle's card.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``.
    precision : Precision
        In bf16 and fp16 the first convolutions (see `first_convolutions`) compute in float32.

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

    def __init__(self, bundle: Bundle, spec: NetworkSpec, device: str, precision: Precision) -> None:
        card = bundle.card
        self.spec = spec
        self.input: BundleInput = card.input_of(spec)
        self._device = torch.device(device)
        self._precision = precision
        loaded = load_network(spec, bundle.weights(spec)).requires_grad_(False)
        self._module: nn.Module = loaded.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._forward: Callable[[Tensor], dict[str, Tensor]] = self._module
        self._explainer: Explainer | None = None
        if card.localisation is not None and card.explains(spec):
            from cxrlib.models.inference.gradcam import Explainer  # noqa: PLC0415 - Captum takes seconds, few bundles use it

            self._explainer = Explainer(self._module, card.localisation.layer)
        self._check_outputs(len(card.classes))
        if precision is not Precision.FP32:
            for name in first_convolutions(self._module, self.input.rows, self.input.columns):
                _compute_in_float32(self._module.get_submodule(name), self._device)

    def compile(self, batch: int) -> None:
        """Compile the network for batches of this size, which takes up to minutes. Its last bits may change.

        A network that the card explains stays as it is, because Grad-CAM needs its layers.

        Raises
        ------
        RuntimeError
            torch cannot compile it here.
        """
        if self._explainer is None:
            self._forward = torch.compile(self._module, dynamic=False)
            self.run(self.to_tensor(np.zeros((batch, self.input.rows, self.input.columns), np.float32)))

    def to_tensor(self, films: NDArray[np.float32]) -> Tensor:
        """Return films as this network reads them: (films, 1, rows, columns), normalised, on its device."""
        film = torch.from_numpy(films[:, None])
        if self._device.type == "cuda":
            # torch reuses pinned memory only after the copies from it have ended.
            film = film.pin_memory().to(self._device, non_blocking=True)
        film = film.contiguous(memory_format=torch.channels_last)
        return (film - self.input.mean) / self.input.std

    def logits(self, films: Tensor) -> dict[str, Tensor]:
        """Return the logits of a batch that `to_tensor` made, on the network's device."""
        with self._autocast(), torch.inference_mode():
            return self._forward(films)

    def run(self, films: Tensor) -> NetworkOutput:
        """Run the network on a batch that `to_tensor` made."""
        found: dict[str, Tensor] = {}
        if self._explainer is None:
            logits = self.logits(films)
        else:
            with self._autocast():
                logits, attribution = self._explainer(films)
            found[_ATTRIBUTION] = attribution.float()
        found |= {output: _to_probability(output, logits[output]) for output in self.spec.outputs}
        arrays = self._to_host(found)
        return NetworkOutput(attribution=arrays.pop(_ATTRIBUTION, None), probabilities=arrays)

    def _to_host(self, tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        """Return tensors as arrays; wait until they are computed and copied."""
        if self._device.type == "cpu":
            return {name: tensor.numpy() for name, tensor in tensors.items()}
        pinned = {name: torch.empty_like(tensor, device="cpu", pin_memory=True) for name, tensor in tensors.items()}
        for name, tensor in tensors.items():
            pinned[name].copy_(tensor, non_blocking=True)
        # The thread sleeps meanwhile: waiting for a stream would keep a core busy.
        copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        copied.record(torch.cuda.current_stream(self._device))
        copied.synchronize()
        return {name: tensor.numpy() for name, tensor in pinned.items()}

    def _autocast(self) -> torch.autocast:
        enabled = self._precision is not Precision.FP32
        return torch.autocast(self._device.type, dtype=_DTYPES[self._precision], enabled=enabled)

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


def build_networks(bundle: Bundle, device: str, precision: Precision) -> list[TorchNetwork]:
    """Return all networks of a bundle on one device. Parameters are those of `TorchNetwork`."""
    return [TorchNetwork(bundle, spec, device, precision) for spec in bundle.card.networks]


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


def first_convolutions(module: nn.Module, rows: int, columns: int) -> list[str]:
    """Return the names of the convolution that reads the film and of the depthwise ones that follow it directly.

    They cause most of the change of percent infected from fp32 to bf16: in the default bundle, there are two, and no
    other stage causes more than a tenth of it.
    """
    called: list[tuple[str, nn.Conv2d]] = []

    def record(name: str) -> Any:
        return lambda part, *_: called.append((name, part))

    parts = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.Conv2d)]
    hooks = [part.register_forward_hook(record(name)) for name, part in parts]
    # Tensors of the device "meta" have shapes but no values, so this costs little.
    shapes = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    try:
        with torch.inference_mode(False), torch.no_grad():
            torch.func.functional_call(module, shapes, (torch.empty((1, 1, rows, columns), device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
    first: list[str] = []
    for name, convolution in called:
        if first and convolution.weight.shape[1] != 1:
            break
        first.append(name)
    return first


def _compute_in_float32(convolution: nn.Module, device: torch.device) -> None:
    """Let a convolution compute in float32 under autocast."""
    forward = convolution.forward

    def in_float32(features: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            result: Tensor = forward(features.float())
        return result

    convolution.forward = in_float32


def _to_probability(output: str, logits: Tensor) -> Tensor:
    raw = logits.float()
    return torch.softmax(raw, dim=1) if output == "classes" else torch.sigmoid(raw)
