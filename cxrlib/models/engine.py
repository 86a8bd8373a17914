"""Run a bundle's networks over films in batches of one fixed size.

A film's outputs are bit-equal wherever it stands in a batch and whatever stands beside it, but not across batch sizes
(bf16 logits then move by up to 0.02). So every forward pass has the number of films the card states, the last one
padded with black films, and the size in which films arrive changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxrlib.bundle import Bundle
from cxrlib.errors import BundleError, FilmError, UsageError
from cxrlib.models.catalog import architecture
from cxrlib.types import CxrImage, Prediction
from schemas import Reason
from schemas.card import Network

_LOG = logging.getLogger(__name__)


class Precision(StrEnum):
    """Arithmetic of the networks."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


_DTYPES: Final = {Precision.FP32: torch.float32, Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


def choose_device(wanted: str) -> torch.device:
    """Return the device called `wanted`; ``auto`` is the first CUDA device, else the CPU.

    Raises
    ------
    UsageError
        The name is not a device, or this machine has no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise UsageError(f"device {wanted!r}: expected auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"}:
        raise UsageError(f"device {wanted!r}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {wanted!r} is not there: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """Return the precision called `wanted`; ``auto`` is bf16 where the hardware multiplies in it, else fp32.

    The choice follows from what the processor says of itself and not from a timing, so it is the same in every run.
    """
    if wanted != "auto":
        return Precision(wanted)
    if device.type == "cuda":
        return Precision.BF16 if torch.cuda.get_device_capability(device) >= (8, 0) else Precision.FP16
    capabilities = torch.cpu.get_capabilities()
    fast = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return Precision.BF16 if fast else Precision.FP32


@dataclass(frozen=True, slots=True)
class _Loaded:
    plan: Network
    module: nn.Module


class Engine:
    """A bundle's networks, loaded once, on one device.

    Parameters
    ----------
    bundle : Bundle
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    precision : str
        ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Notes
    -----
    On out-of-memory the batch is halved for the rest of the engine's life and a warning says so; a film's probabilities
    may then differ within 0.01 from those of a full batch.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto", precision: str = "auto") -> None:
        self.card = bundle.card
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.batch = bundle.card.input.batch
        self._networks = [
            _Loaded(plan, load_network(plan, bundle.weights(plan)).to(self.device, memory_format=torch.channels_last))  # type: ignore[call-overload]
            for plan in bundle.card.networks
        ]

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one outcome per film, in order: its prediction, or why the networks failed on this film alone.

        Raises
        ------
        MemoryError, torch.OutOfMemoryError
            Not even one film fits the device.
        """
        for image in images:
            expected = (self.card.input.rows, self.card.input.columns)
            if image.pixels.shape != expected:
                raise ValueError(
                    f"expected films of {expected} pixels, as the bundle's card says; met {image.pixels.shape}"
                )
        films = [image.pixels for image in images]
        outcomes: list[Prediction | FilmError] = []
        start = 0
        while start < len(films):
            part = films[start : start + self.batch]
            size = self.batch
            try:
                outcomes.extend(self._isolating(part))
            except (torch.OutOfMemoryError, MemoryError):
                if size == 1:
                    raise
                self.batch = max(1, size // 2)
                _release(self.device)
                _LOG.warning("out of memory with %d films on %s; going on with %d", size, self.device, self.batch)
                continue
            start += size
        return outcomes

    def _isolating(self, films: Sequence[NDArray[np.float32]]) -> list[Prediction | FilmError]:
        """Predict a batch; where that fails, halve it until the film that makes it fail stands alone."""
        try:
            return list(self._forward(films))
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except RuntimeError as error:
            if "not enough memory" in str(error):  # what the CPU allocator says in place of OutOfMemoryError
                raise MemoryError(str(error)) from error
            if len(films) == 1:
                met = f"{type(error).__name__} in the forward pass"
                return [FilmError(Reason.MODEL_FAILED, expected="a forward pass that ends", met=met)]
            middle = len(films) // 2
            return [*self._isolating(films[:middle]), *self._isolating(films[middle:])]

    def _forward(self, films: Sequence[NDArray[np.float32]]) -> Iterator[Prediction | FilmError]:
        probabilities = self._probabilities(films)
        lung = probabilities["lung"]
        infection = probabilities.get("infection")
        classes = probabilities.get("classes")
        for index in range(len(films)):
            if not all(np.isfinite(output[index]).all() for output in probabilities.values()):
                yield FilmError(Reason.MODEL_FAILED, expected="finite numbers from the networks", met="NaN or infinity")
                continue
            yield Prediction(
                lung=lung[index],
                infection=None if infection is None else infection[index],
                classes=None if classes is None else dict(zip(self.card.classes, classes[index].tolist(), strict=True)),
                precision=self.precision.value,
            )

    @torch.inference_mode()
    def _probabilities(self, films: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run all networks over one padded batch; float32 probabilities by output, cut back to the films given."""
        rows, columns = self.card.input.rows, self.card.input.columns
        padded = np.zeros((self.batch, 1, rows, columns), dtype=np.float32)
        padded[: len(films), 0] = films
        film = torch.from_numpy(padded).to(self.device).contiguous(memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        for network in self._networks:
            read = film
            if network.plan.reads == "lung_masked_film":
                read = film * (found["lung"] > self.card.postprocess.lung_threshold)[:, None]
            normalised = (read - self.card.input.mean) / self.card.input.std
            reduced = self.precision is not Precision.FP32
            with torch.autocast(self.device.type, dtype=_DTYPES[self.precision], enabled=reduced):
                logits = network.module(normalised)
            for output in network.plan.outputs:
                raw = logits[output].float()
                found[output] = torch.softmax(raw, dim=1) if output == "classes" else torch.sigmoid(raw)
        return {name: tensor[: len(films)].cpu().numpy() for name, tensor in found.items()}


def load_network(plan: Network, weights: bytes) -> nn.Module:
    """Build a network of a card and load its safetensors weights, strictly; ready for inference, float32.

    Raises
    ------
    BundleError
        The weights do not fit the architecture.
    """
    module = architecture(plan.architecture).build(plan.arguments)
    try:
        module.load_state_dict(safetensors.torch.load(weights), strict=True)
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"network {plan.name}: its weights do not fit {plan.architecture}: {error}") from error
    return module.float().eval()


def _release(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
