"""Small variants of every architecture of the catalog, and weights that depend on names and shapes only."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cxrlib.models.architectures.catalog import find_architecture

if TYPE_CHECKING:
    from torch import nn

FILMS = 2


@dataclass(frozen=True)
class Case:
    """An architecture with its arguments, and the side of its test films in pixels."""

    architecture: str
    arguments: dict[str, Any] = field(default_factory=dict)
    side: int = 64

    def __str__(self) -> str:
        """Return the name used in test ids and in the golden file."""
        values = "-".join(str(value) for value in self.arguments.values())
        return f"{self.architecture}-{values}" if values else self.architecture

    def build(self) -> nn.Module:
        """Build the network in inference mode."""
        return find_architecture(self.architecture).build(self.arguments).eval()

    def outputs(self, network: nn.Module) -> list[str]:
        """Return the sorted names of the network's outputs."""
        import torch

        with torch.inference_mode():
            return sorted(network(torch.from_numpy(self.films())))

    def films(self) -> NDArray[np.float32]:
        """Return seeded films (FILMS, 1, side, side) in [-1, 1]."""
        return np.random.default_rng(1).uniform(-1, 1, (FILMS, 1, self.side, self.side)).astype(np.float32)


#: One small variant of each architecture, with all of its parts.
ONE_PER_ARCHITECTURE = (
    Case("multitask-unet", {"encoder": "tu-tf_efficientnet_lite0"}),
    Case("qu-ex-unet", {"encoder": "resnet18", "output": "lung"}),
    Case("qu-ex-unetplusplus", {"encoder": "resnet18", "output": "infection"}),
    Case("qu-ex-fpn", {"encoder": "resnet18", "output": "lung"}),
    Case("inflocnet-lung-class"),
    Case("inflocnet-infection"),
    Case("inflocnet-unet", {"output": "lung", "transfer": True}),
    Case("inflocnet-unetplusplus", {"output": "lung", "transfer": True}),
    Case("hybrid-unet", {"encoder": "mobilenetv2"}),
    Case("hybrid-linknet", {"encoder": "mobilenetv2"}),
    Case("hybrid-fpn", {"encoder": "mobilenetv2"}),
    Case("hybrid-coatnet", {"rows": 64, "columns": 64}),
    Case("hybrid-classifier", {"encoder": "xception"}),
    Case("amalgam"),
    Case("pneumonia-deeplabv3"),
    Case("pneumonia-segnet"),
)

#: Further variants with a golden file: every encoder of every paper once, and every kind of decoder.
MORE_CASES = (
    Case("qu-ex-fpn", {"encoder": "resnet50", "output": "lung"}),
    Case("qu-ex-fpn", {"encoder": "densenet121", "output": "lung"}),
    Case("qu-ex-fpn", {"encoder": "densenet161", "output": "lung"}),
    Case("qu-ex-fpn", {"encoder": "inceptionv4", "output": "lung"}),
    Case("qu-ex-unetplusplus", {"encoder": "densenet121", "output": "infection"}),
    Case("inflocnet-unet", {"output": "infection", "transfer": False}),
    Case("inflocnet-unetplusplus", {"output": "infection", "transfer": False}),
    Case("hybrid-unet", {"encoder": "inceptionresnetv2"}),
    Case("hybrid-linknet", {"encoder": "seresnext50"}),
    Case("hybrid-fpn", {"encoder": "efficientnetb2"}),
    Case("hybrid-fpn", {"encoder": "vgg16"}),
    Case("hybrid-classifier", {"encoder": "resnet50"}),
    Case("hybrid-classifier", {"encoder": "inceptionresnetv2"}, side=96),
    Case("amalgam", {"encoders": ["mobilenetv2"]}),
)


def set_weights(network: nn.Module) -> None:
    """Give a network weights that depend on names and shapes only, not on the order in which a library draws them.

    Kernels preserve variance through a ReLU; scales and variances of norms are near 1, all other values near 0.
    """
    import torch

    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        seed = zlib.crc32(name.encode())
        drawn = np.random.default_rng(seed).random(tuple(tensor.shape), dtype=np.float32) * 2 - 1
        if tensor.ndim > 1:
            drawn *= np.sqrt(6 / np.prod(tensor.shape[1:]))  # uniform, with the variance of He et al. 2015
        elif name.endswith(("weight", "running_var")):
            drawn = 1 + drawn / 4
        else:
            drawn /= 8
        tensor.copy_(torch.from_numpy(np.asarray(drawn, dtype=np.float32)))
