"""One network of a bundle: built, loaded, tried once, and run over a batch of films."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxr_schemas.card import Input, Network
from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference import graph_cache
from cxrlib.models.inference.graph import Program
from cxrlib.models.inference.hardware import Precision

if TYPE_CHECKING:
    from cxrlib.models.inference.gradcam import Explainer

#: What an error of the network itself may be, where its card and its architecture do not agree.
_MISFITS: Final = (RuntimeError, ValueError, TypeError, AssertionError, KeyError, IndexError)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a network says of a batch of films.

    Attributes
    ----------
    probabilities : dict of str to float32 array
        By output, those that the card lists: ``lung`` and ``infection`` (films, rows, columns) on the network's own
        grid, ``classes`` (films, classes).
    attribution : float32 array or None
        Grad-CAM (films, rows, columns of the layer), none negative; None unless the card has this network explained.
    """

    probabilities: dict[str, NDArray[np.float32]]
    attribution: NDArray[np.float32] | None


class BundleNetwork:
    """A network of a bundle, ready to be run on one device in one precision.

    Parameters
    ----------
    bundle : Bundle
    plan : Network
        One of the card's networks.
    device : torch.device
    precision : Precision
    keep : bool
        Whether to run, and to keep for later, the network's program in place of its modules, where it has one: on a
        CPU, unless it is explained. It gives the same bits.

    Attributes
    ----------
    plan : Network
    input : Input
        What it reads: the bundle's input, with what the network has of its own.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, or what the network gives is not what the card says.
    """

    def __init__(
        self, bundle: Bundle, plan: Network, device: torch.device, precision: Precision, *, keep: bool = False
    ) -> None:
        card = bundle.card
        self.plan = plan
        self.input: Input = card.input_of(plan)
        self._unbuilt = [bundle]  # taken out once its weights are in a module, for they are large
        self._device = device
        self._precision = precision
        self._explain: Explainer | None = None
        self._building = threading.Lock()
        self._module: nn.Module | None = None
        self._program: Program | None = None
        explained = card.localisation if card.localisation and card.localisation.network == plan.name else None
        self._explained_layer = explained.layer if explained else None
        name = None
        if keep and self._explained_layer is None and device.type == "cpu":
            name = graph_cache.key(bundle.digest, plan.name, precision.value, card.input.batch)
            self._program = graph_cache.load(name)
        if self._program is None:
            self._module = self._built()
            if self._explained_layer is not None:
                from cxrlib.models.inference.gradcam import Explainer  # noqa: PLC0415 - Captum costs seconds, few bundles use it

                self._explain = Explainer(self._module, self._explained_layer)
            self._try(len(card.classes))
        if name is not None and self._program is None:
            black = np.zeros((card.input.batch, self.input.rows, self.input.columns), np.float32)
            self._program = Program.record(self._logits, self.tensor(black))
            if self._program is not None:
                graph_cache.keep(name, self._program)

    def _built(self) -> nn.Module:
        """Build the module, once, with its weights, on its device, and fuse what can be fused."""
        from cxrlib.models.inference.fused import can_fuse, compute_first_in_float32, fuse  # noqa: PLC0415 - imports timm

        loaded = load_network(self.plan, self._unbuilt.pop().weights(self.plan)).requires_grad_(False)
        module: nn.Module = loaded.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        shape = (1, 1, self.input.rows, self.input.columns)
        # A network that cannot be watched is run as it is; what does not fit its card is told by the film tried.
        with suppress(*_MISFITS):
            if self._explained_layer is None and can_fuse(self._device, self._precision.dtype):
                fuse(module, shape, self._precision.dtype)
            elif self._precision is not Precision.FP32:
                compute_first_in_float32(module, shape, self._device)
        return module

    def tensor(self, films: NDArray[np.float32]) -> Tensor:
        """Return films as this network reads them: (films, 1, rows, columns), normalised, on its device."""
        film = torch.from_numpy(films[:, None]).to(self._device).contiguous(memory_format=torch.channels_last)
        return (film - self.input.mean) / self.input.std

    def run(self, films: Tensor) -> Answer:
        """Run the network over a batch that `tensor` made."""
        attribution: Tensor | None = None
        if self._explain is not None:
            with self._autocast():
                logits, attribution = self._explain(films)
        else:
            program = self._program
            with torch.inference_mode():
                fits = program is not None and program.shape == films.shape
                logits = program(films) if program is not None and fits else self._logits(films)
        return Answer(
            probabilities={output: _probability(output, logits[output]) for output in self.plan.outputs},
            attribution=None if attribution is None else attribution.float().cpu().numpy(),
        )

    def _logits(self, films: Tensor) -> dict[str, Tensor]:
        """Run the module, which is built where only its program was needed until now."""
        with self._building:
            if self._module is None:
                self._module = self._built()
        with self._autocast():
            logits: dict[str, Tensor] = self._module(films)
        return logits

    def _autocast(self) -> torch.autocast:
        enabled = self._precision is not Precision.FP32
        return torch.autocast(self._device.type, dtype=self._precision.dtype, enabled=enabled)

    def _try(self, classes: int) -> None:
        """Run one black film, so that a card that does not fit its network stops the run and not every film of it."""
        rows, columns = self.input.rows, self.input.columns
        expected = {"lung": (1, rows, columns), "infection": (1, rows, columns), "classes": (1, classes)}
        where = f"network {self.plan.name} ({self.plan.architecture}) on {rows} x {columns} pixels"
        try:
            answer = self.run(self.tensor(np.zeros((1, rows, columns), np.float32)))
        except torch.OutOfMemoryError:
            raise
        except _MISFITS as error:
            raise BundleError(
                f"{where}: expected outputs {', '.join(self.plan.outputs)}; got {type(error).__name__}: {error}"
            ) from error
        for output, probability in answer.probabilities.items():
            if probability.shape != expected[output]:
                raise BundleError(f"{where}: expected {output} of shape {expected[output]}; got {probability.shape}")


def load_network(plan: Network, weights: bytes) -> nn.Module:
    """Build a network of a card and load its safetensors weights, strictly; ready for inference, float32.

    Raises
    ------
    BundleError
        The weights do not fit the architecture, or are not finite.
    """
    module = find_architecture(plan.architecture).build(plan.arguments)
    try:
        module.load_state_dict(safetensors.torch.load(weights), strict=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"network {plan.name}: its weights do not fit {plan.architecture}: {error}") from error
    if odd := [name for name, tensor in module.state_dict().items() if not torch.isfinite(tensor).all()]:
        raise BundleError(f"network {plan.name}: expected finite weights; got others in {odd[0]}")
    return module.float().eval()


def _probability(output: str, logits: Tensor) -> NDArray[np.float32]:
    raw = logits.float()
    probability = torch.softmax(raw, dim=1) if output == "classes" else torch.sigmoid(raw)
    return probability.cpu().numpy()
