"""inflocnet (Miah et al.): a VGG16 encoder, slimmed U-Net++ skip paths, and a class head on the centre.

Sections 3.2, 4.1 and 4.2, Figure 3, Table 9. One network gives lung and class, a second one, without the head, the
infection. Eq. 4 defines node (i, j) of scale i as two convolutions over the node before it on its path and the
upsampled node below: ``x[i][j] = H(x[i][j-1], U(x[i+1][j-1]))``, and the nodes with ``i + j = 4`` are the four
decoder blocks. Two things are not said outright and are settled by the counts of Table 9 (as Keras counts, see
`cxrlib.models.architectures.inflocnet_parts`):

- How the skip paths are slimmed. U-Net++ has 3, 2, 1 and 0 nodes between encoder and decoder on its paths, fine to
  coarse. All of them under Eq. 4 would make 28,887,169 parameters, a tenth more than the 26,165,825 of the paper.
  Section 3.2 takes dense blocks out of the paths; with one fewer on each (2, 1, 0, 0) there are 25,786,113: 1.5 %
  below. Eq. 4 then holds for every node, with the decoder at scale i reading the last node of path i. (After Eq. 4 it
  is said that all earlier maps reach a node. Were they concatenated, as in U-Net++, there would be 26,044,161; but
  Eq. 4 and its text give a node two inputs, so they reach it through the path.)
- The class head's widths. Section 4.1.5 states the last, 64, and the dense layers. The two networks of Table 9 differ
  by 1,966,980, so the head has as many; of widths that are powers of two and end in 64, 256-256-64 come nearest, with
  2,016,835. The network of lung and class then has 27,802,948: 1.2 % below the 28,132,805 of the paper.

Section 4 speaks of 18 and 15 million parameters; VGG16's convolutions alone have 14.7, and Table 9 is followed.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from cxrlib.models.architectures.inflocnet_parts import (
    VGG16_CENTRE,
    WIDTHS,
    ClassHead,
    EncoderDecoder,
    conv_block,
    upsample,
    vgg16,
)
from cxrlib.models.architectures.single_mask import MaskOutput

#: Nodes between encoder and decoder on each skip path, fine to coarse.
_SKIP_NODES: Final = (2, 1, 0, 0)
#: Channels of the class head's convolutions.
HEAD_CHANNELS: Final = (256, 256, 64)


class SlimDecoder(nn.Module):
    """The nodes of Eq. 4: slimmed skip paths and the four decoder blocks."""

    def __init__(self) -> None:
        super().__init__()
        channels = (*WIDTHS, VGG16_CENTRE)
        self.nodes = nn.ModuleDict()
        for scale, width in enumerate(WIDTHS):
            # After the skip nodes 1, 2, ... of its path comes the decoder block of the scale.
            for node in range(1, _SKIP_NODES[scale] + 2):
                self.nodes[_name(scale, node)] = conv_block(width + channels[scale + 1], width)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the encoder's five maps, fine to coarse, to the finest decoder block's."""
        paths = [[map_] for map_ in maps]  # node (i, j) is paths[i][j]
        for node in range(1, max(_SKIP_NODES) + 1):
            for scale, count in enumerate(_SKIP_NODES):
                if node <= count:
                    paths[scale].append(self._node(scale, node, paths, paths[scale + 1][node - 1]))
        decoded = maps[-1]
        for scale in reversed(range(len(WIDTHS))):
            decoded = self._node(scale, _SKIP_NODES[scale] + 1, paths, decoded)
        return decoded

    def _node(self, scale: int, node: int, paths: list[list[Tensor]], below: Tensor) -> Tensor:
        joined = torch.cat([paths[scale][node - 1], upsample(below)], dim=1)
        values: Tensor = self.nodes[_name(scale, node)](joined)
        return values


def _name(scale: int, node: int) -> str:
    return f"x{scale}{node}"


def build_lung_class(classes: int = 3) -> nn.Module:
    """Build the network of lung and class with random weights; the entry of the catalog calls this."""
    return EncoderDecoder(vgg16(), SlimDecoder(), MaskOutput.LUNG, ClassHead(VGG16_CENTRE, HEAD_CHANNELS, classes))


def build_infection() -> nn.Module:
    """Build the infection network with random weights; the entry of the catalog calls this."""
    return EncoderDecoder(vgg16(), SlimDecoder(), MaskOutput.INFECTION, None)
