"""amalgam (Mishra, Gupta, Tewari 2023): a U-Net whose encoder stacks MobileNetV2 and InceptionResNetV2.

Section 3 and Figure 2 stack both pretrained networks in the encoder of a U-Net. A meta-learner follows, of three dense
layers of 32, 64 and 128 with dropout 0.4, and batch normalisation before the full convolution. The paper leaves some
points open; we decided:

- Both encoders read the film, and their feature maps are concatenated at each of the five scales. For the maps to have
  equal sizes, InceptionResNetV2's unpadded convolutions must be padded. This is the zero padding of section 3, and
  segmentation-models-pytorch does it.
- A meta-learner learns how much to trust each member of a stack, here for each pixel: three dense layers on the
  decoder's features are 1x1 convolutions, each with ReLU and dropout. Batch normalisation and the last convolution
  follow.
- The decoder is the U-Net decoder of the library, as for the rivals in Table 1. With one encoder, the network is such
  a rival: it stacks nothing, so it has no meta-learner.

The paper prints no parameter counts. It compares the stack's parameters with those of the rivals on MobileNetV2 and on
InceptionResNetV2 as "8.16 % and 0.20 %". Here the stack has 67.5 M, 8.8 % more than the rival on InceptionResNetV2. We
found no reading that explains the other figure.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from cxrlib.models.architectures.single_mask import SingleMask

_DECODER: Final = (256, 128, 64, 32, 16)
_META: Final = (32, 64, 128)
_DROPOUT: Final = 0.4


class AmalgamEncoder(StrEnum):
    """The members of the stack."""

    MOBILENETV2 = "mobilenetv2"
    INCEPTIONRESNETV2 = "inceptionresnetv2"

    @property
    def library_name(self) -> str:
        """The encoder's name in segmentation-models-pytorch."""
        return {AmalgamEncoder.MOBILENETV2: "mobilenet_v2"}.get(self, self.value)


class StackedEncoder(nn.Module):
    """Several encoders that read the same film. Their features are concatenated at each scale.

    Parameters
    ----------
    members : sequence of Encoder
    """

    def __init__(self, members: Sequence[AmalgamEncoder]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(
            {member.value: get_encoder(member.library_name, in_channels=1, weights=None) for member in members}
        )
        # The first map of each is the film itself. The decoder ignores it, but expects it in the list of scales.
        encoders: list[Any] = list(self.members.values())
        channels = [encoder.out_channels[1:] for encoder in encoders]
        self.out_channels = [1, *(sum(scale) for scale in zip(*channels, strict=True))]

    def forward(self, films: Tensor) -> list[Tensor]:
        """Map (films, 1, rows, columns) to the film and five maps, each half the size of the one before."""
        maps = [encoder(films)[1:] for encoder in self.members.values()]
        return [films, *(torch.cat(scale, dim=1) for scale in zip(*maps, strict=True))]


class StackedUnet(nn.Module):
    """U-Net on a `StackedEncoder`: (films, 1, rows, columns) to (films, 1, rows, columns), logits."""

    def __init__(self, members: Sequence[AmalgamEncoder]) -> None:
        super().__init__()
        self.encoder = StackedEncoder(members)
        self.decoder = UnetDecoder(self.encoder.out_channels, list(_DECODER), n_blocks=len(_DECODER))
        self.head = _head(meta=len(members) > 1)

    def forward(self, films: Tensor) -> Tensor:
        """Return the logits of the mask."""
        logits: Tensor = self.head(self.decoder(self.encoder(films)))
        return logits


def _head(*, meta: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = _DECODER[-1]
    if meta:
        for width in _META:
            layers += [nn.Conv2d(channels, width, kernel_size=1), nn.ReLU(inplace=True), nn.Dropout(_DROPOUT)]
            channels = width
        layers.append(nn.BatchNorm2d(channels))
    return nn.Sequential(*layers, nn.Conv2d(channels, 1, kernel_size=3, padding=1))


def build(encoders: Sequence[str] = ("mobilenetv2", "inceptionresnetv2"), output: str = "lung") -> nn.Module:
    """Build the stack, or with one encoder a rival, with random weights.

    Raises
    ------
    ValueError
        There is no encoder, or one is repeated.
    """
    members = [AmalgamEncoder(name) for name in encoders]
    if not members or len(set(members)) != len(members):
        raise ValueError(f"expected one or more different encoders; got {list(encoders)}")
    return SingleMask(StackedUnet(members), output)
