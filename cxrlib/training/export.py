"""From trained weights to a bundle."""

from __future__ import annotations

from typing import Final

import safetensors.torch
import torch
from torch import Tensor, nn

from cxrlib.bundle import Bundle, write_bundle
from cxrlib.training.recipe import Recipe
from schemas import Card, FilmClass
from schemas.card import Network

#: Order of the class logits of every network that this package trains.
CLASSES: Final = (FilmClass.COVID19, FilmClass.PNEUMONIA, FilmClass.NORMAL)

_WEIGHTS_FILE: Final = "weights.safetensors"


def network_weights(network: nn.Module) -> bytes:
    """Serialise a network's state; kernels are stored as float16, which halves the file, all else as it is.

    Norms and their running statistics stay float32: a variance may exceed what float16 holds.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        kernel = tensor.ndim > 1 and tensor.is_floating_point()
        state[name] = tensor.detach().cpu().to(torch.float16 if kernel else tensor.dtype).contiguous()
    return safetensors.torch.save(state)


def export_bundle(recipe: Recipe, network: nn.Module, films: dict[str, int], uri: str) -> Bundle:
    """Write `network` as a bundle to `uri`; `films` counts the training films by data folder."""
    outputs = [name for name in ("lung", "infection") if name in network.masks]  # type: ignore[operator]
    card = Card(
        bundle=recipe.bundle,
        input=recipe.input,
        networks=(
            Network.model_validate(
                {
                    "name": recipe.bundle.name,
                    "architecture": recipe.network.architecture,
                    "arguments": recipe.network.arguments,
                    "weights": _WEIGHTS_FILE,
                    "outputs": [*outputs, "classes"],
                }
            ),
        ),
        classes=CLASSES,
        postprocess=recipe.postprocess,
        training=recipe.training_data(films),
    )
    return write_bundle(uri, card, {_WEIGHTS_FILE: network_weights(network)})
