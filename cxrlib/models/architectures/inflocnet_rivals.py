"""inflocnet (Miah et al.): the four rivals of its Tables 4, 5, 7 and 9, U-Net and U-Net++ with and without transfer.

With transfer, the encoder is VGG16; without, it is a plain encoder of 64 to 1024 channels. Networks that give the lung
have the class head. The paper does not describe these networks, but prints their parameter counts (Table 9, as Keras
counts; see `cxrlib.models.architectures.inflocnet_parts`):

- U-Net++: every path is dense. Each node reads all nodes before it on its path and the upsampled node below; a node has
  two convolutions. Both encoders agree with the infection column to the last digit.
- U-Net on VGG16: decoder blocks of two convolutions, none wider than 256, give 20,177,665; the paper has 19,854,657.
- U-Net on the plain encoder: upsampling by 2x2 transposed convolutions and one convolution per block give 27,917,057;
  the paper has 27,887,169.

The class head on a plain encoder halves the channels three times, from 1024 to 512, 256 and 128. With four outputs (the
four classes of the Radiography database), its size is the difference of U-Net++'s two columns, to the last digit. On
VGG16 it is the class head of the proposed network. Two figures of the lung column do not fit and seem to be misprints.
34,107,525 for U-Net++ with transfer looks 2,000,000 too high: the rest is exactly U-Net++ plus the head of the other
two networks on VGG16. No head on 1024 channels explains 29,837,267 for U-Net without transfer.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from torch import Tensor, nn

from cxrlib.models.architectures.inflocnet import HEAD_CHANNELS
from cxrlib.models.architectures.inflocnet_parts import (
    PLAIN_CENTRE,
    VGG16_CENTRE,
    WIDTHS,
    ClassHead,
    EncoderDecoder,
    PlainEncoder,
    conv_block,
    upsample,
    vgg16,
)
from cxrlib.models.architectures.single_mask import MaskOutput

_SCALES: Final = len(WIDTHS)
#: Channels of the decoder blocks of U-Net on VGG16, coarse to fine.
_VGG16_BLOCKS: Final = (256, 256, 128, 64)


class BilinearDecoder(nn.Module):
    """U-Net decoder with bilinear upsampling and two convolutions per block."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            conv_block(below + skip, out)
            for (below, out), skip in zip(pairwise((VGG16_CENTRE, *_VGG16_BLOCKS)), reversed(WIDTHS), strict=True)
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the encoder's five maps, fine to coarse, to the output of the finest block."""
        *skips, values = maps
        for block, skip in zip(self.blocks, reversed(skips), strict=True):
            values = block(torch.cat([skip, upsample(values)], dim=1))
        return values


class TransposedDecoder(nn.Module):
    """U-Net decoder with transposed convolutions and one convolution per block."""

    def __init__(self) -> None:
        super().__init__()
        steps = list(pairwise((PLAIN_CENTRE, *reversed(WIDTHS))))
        self.upward = nn.ModuleList(nn.ConvTranspose2d(below, out, kernel_size=2, stride=2) for below, out in steps)
        self.blocks = nn.ModuleList(conv_block(2 * out, out, count=1) for _, out in steps)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the encoder's five maps, fine to coarse, to the output of the finest block."""
        *skips, values = maps
        for up, block, skip in zip(self.upward, self.blocks, reversed(skips), strict=True):
            values = block(torch.cat([skip, up(values)], dim=1))
        return values


class DenseDecoder(nn.Module):
    """The nodes of U-Net++ (Zhou et al. 2018, Eq. 1): a node reads all before it on its path and the one below it."""

    def __init__(self, centre: int) -> None:
        super().__init__()
        channels = (*WIDTHS, centre)
        self.nodes = nn.ModuleDict(
            {
                f"x{scale}{node}": conv_block(node * WIDTHS[scale] + channels[scale + 1], WIDTHS[scale])
                for node in range(1, _SCALES + 1)
                for scale in range(_SCALES + 1 - node)
            }
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the encoder's five maps, fine to coarse, to the last node of the finest path."""
        paths = [[map_] for map_ in maps]
        for node in range(1, _SCALES + 1):
            for scale in range(_SCALES + 1 - node):
                below = upsample(paths[scale + 1][node - 1])
                paths[scale].append(self.nodes[f"x{scale}{node}"](torch.cat([*paths[scale], below], dim=1)))
        return paths[0][-1]


def _class_head(output: str, transfer: bool, classes: int) -> ClassHead | None:
    if MaskOutput(output) is not MaskOutput.LUNG:
        return None
    if transfer:
        return ClassHead(VGG16_CENTRE, HEAD_CHANNELS, classes)
    return ClassHead(PLAIN_CENTRE, (PLAIN_CENTRE // 2, PLAIN_CENTRE // 4, PLAIN_CENTRE // 8), classes)


def build_unet(output: str, transfer: bool, classes: int = 3) -> nn.Module:
    """Build the rival U-Net with random weights."""
    encoder = vgg16() if transfer else PlainEncoder()
    decoder = BilinearDecoder() if transfer else TransposedDecoder()
    return EncoderDecoder(encoder, decoder, output, _class_head(output, transfer, classes))


def build_unetplusplus(output: str, transfer: bool, classes: int = 3) -> nn.Module:
    """Build the rival U-Net++ with random weights."""
    encoder = vgg16() if transfer else PlainEncoder()
    decoder = DenseDecoder(VGG16_CENTRE if transfer else PLAIN_CENTRE)
    return EncoderDecoder(encoder, decoder, output, _class_head(output, transfer, classes))
