"""Stand-ins for the published ImageNet weights of encoders: the names and shapes of the real files, all values 1."""

from __future__ import annotations

import re

import segmentation_models_pytorch as smp
import torch
import torchvision
from torch import Tensor, nn

_IMAGENET_CLASSES = 1000

#: End of the name of the number of batches that a batch norm has seen. Files from before torch 0.4.1 have none.
COUNT = "num_batches_tracked"


def published_state(encoder: str) -> dict[str, Tensor]:
    """Return a stand-in for the published weights of an encoder of the catalog, classifier included.

    Values are of 8 bits, because names and shapes matter here and the real files take up to 550 MB.
    """
    with torch.device("meta"):
        network = _network(encoder)
    state = {name: torch.ones(tensor.shape, dtype=torch.int8) for name, tensor in network.state_dict().items()}
    if encoder.startswith("densenet"):
        return as_published_in_2017(state)
    return state


def as_published_in_2017(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a DenseNet as its file has it: norms counted no batches, and names had one more dot."""
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): tensor
        for name, tensor in state.items()
        if not name.endswith(COUNT)
    }


def _network(encoder: str) -> nn.Module:
    """Return the network whose file is published: torchvision's, or for InceptionResNetV2 that of the library."""
    if encoder == "inceptionresnetv2":
        network: nn.Module = smp.encoders.get_encoder(encoder, weights=None)
        network.last_linear = nn.Linear(1536, _IMAGENET_CLASSES)
        return network
    name = {"mobilenetv2": "mobilenet_v2"}.get(encoder, encoder)
    return torchvision.models.get_model(name, weights=None)
