"""inflocnet (Miah et al.): a VGG16 encoder, slimmed U-Net++ skip paths, and a class head on the centre.

Sections 3.2, 4.1 and 4.2, Figure 3, Table 9. One network gives lung and class. A second one, without the class head,
gives the infection. Eq. 4 defines node (i, j) of scale i as two convolutions over the node before it on its path and
the upsampled node below: ``x[i][j] = H(x[i][j-1], U(x[i+1][j-1]))``. The nodes with ``i + j = 4`` are the four decoder
blocks. The paper leaves two points open. The parameter counts of Table 9 decide them (counted as Keras does, see
`cxrlib.models.architectures.inflocnet_parts`):

- How the skip paths are slimmed. U-Net++ has 3, 2, 1 and 0 nodes between encoder and decoder on its paths, fine to
  coarse. With all of them, Eq. 4 gives 28,887,169 parameters, a tenth more than the paper's 26,165,825. Section 3.2
  removes dense blocks from the paths. With one fewer on each path (2, 1, 0, 0) there are 25,786,113, which is 1.5 %
  below. Eq. 4 then holds for every node; the decoder at scale i reads the last node of path i. (The text after Eq. 4
  says that all earlier maps reach a node. Concatenated as in U-Net++, they would give 26,044,161 parameters. But Eq. 4
  and its text give a node two inputs, so earlier maps reach it along the path.)
- The widths of the class head. Section 4.1.5 states the last one, 64, and the dense layers. The two networks of Table 9
  differ by 1,966,980 parameters, which is the size of the head. Of widths that are powers of two and end in 64,
  256-256-64 is closest, with 2,016,835. The network of lung and class then has 27,802,948 parameters, 1.2 % below the
  paper's 28,132,805.

Section 4 also mentions 18 and 15 million parameters, but VGG16's convolutions alone have 14.7, so we follow Table 9.
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
            # The skip nodes 1, 2, ... of the path, then the decoder block of the scale.
            for node in range(1, _SKIP_NODES[scale] + 2):
                self.nodes[_node_name(scale, node)] = conv_block(width + channels[scale + 1], width)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Map the encoder's five maps, fine to coarse, to the output of the finest decoder block."""
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
        values: Tensor = self.nodes[_node_name(scale, node)](joined)
        return values


def _node_name(scale: int, node: int) -> str:
    return f"x{scale}{node}"


def build_lung_class(classes: int = 3) -> nn.Module:
    """Build the network for lung and class with random weights."""
    return EncoderDecoder(vgg16(), SlimDecoder(), MaskOutput.LUNG, ClassHead(VGG16_CENTRE, HEAD_CHANNELS, classes))


def build_infection() -> nn.Module:
    """Build the infection network with random weights."""
    return EncoderDecoder(vgg16(), SlimDecoder(), MaskOutput.INFECTION, None)
