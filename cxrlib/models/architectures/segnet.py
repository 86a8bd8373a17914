"""pneumonia-seg (Kyi Pyar): SegNet, whose decoder unpools values to the positions from which the encoder pooled them.

Section 3.2, Figure 1 and Table 1 describe five blocks of VGG16's convolutions with max-pooling, a mirrored decoder that
upsamples by the pooling indices, ReLU, and dropout 0.5. Two points are open and follow the paper's reference
(Badrinarayanan et al. 2017): batch normalisation follows each convolution, and the decoder has the encoder's
convolutions in reverse. The position of the dropout is not stated; here it is between encoder and decoder. Section 3.2
ends in a softmax, but Table 1 trains with binary cross-entropy; one logit per pixel serves both. The paper prints no
parameter counts.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import torch
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn
from torch.nn import functional

from cxrlib.models.architectures.single_mask import SingleMask

#: Output channels of the decoder's convolutions, deepest block first. `SegNet.head` adds the mask's convolution.
_DECODER: Final = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))
_DEEPEST: Final = 512
_DROPOUT: Final = 0.5


class SegNet(nn.Module):
    """SegNet on VGG16 with batch normalisation: (films, 1, rows, columns) to (films, 1, rows, columns), logits.

    Rows and columns must be multiples of 32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = get_encoder("vgg16_bn", in_channels=1, weights=None)
        self.dropout = nn.Dropout(_DROPOUT)
        blocks = []
        channels = _DEEPEST
        for widths in _DECODER:
            blocks.append(
                nn.Sequential(*(_convolution(before, after) for before, after in pairwise((channels, *widths))))
            )
            channels = widths[-1]
        self.decoder = nn.ModuleList(blocks)
        self.head = nn.Conv2d(channels, 1, kernel_size=3, padding=1)

    def forward(self, films: Tensor) -> Tensor:
        """Return the logits of the mask."""
        values = films
        positions: list[list[Tensor]] = []
        for layer in self.encoder.features:
            if isinstance(layer, nn.MaxPool2d):
                pooled = functional.max_pool2d(values, 2)
                positions.append(find_maxima(values, pooled))
                values = pooled
            else:
                values = layer(values)
        values = self.dropout(values)
        for block, maxima in zip(self.decoder, reversed(positions), strict=True):
            values = block(unpool(values, maxima))
        logits: Tensor = self.head(values)
        return logits


def find_maxima(values: Tensor, pooled: Tensor) -> list[Tensor]:
    """Return where 2 x 2 max-pooling takes its maxima: one mask for each of the four cells of a window, row by row.

    If several cells of a window hold the maximum, the first is taken, as torch's pooling does.
    """
    maxima: list[Tensor] = []
    free = torch.ones_like(pooled, dtype=torch.bool)
    for row in (0, 1):
        for column in (0, 1):
            found = (values[:, :, row::2, column::2] == pooled) & free
            free = free & ~found
            maxima.append(found)
    return maxima


def unpool(values: Tensor, maxima: list[Tensor]) -> Tensor:
    """Return maps of twice the rows and columns: `values` at the positions of `find_maxima`, 0 elsewhere.

    It gives the bits of ``torch.nn.functional.max_unpool2d``, which cannot be traced or converted.
    """
    cells = torch.stack([torch.where(found, values, 0.0) for found in maxima], dim=2)
    return functional.pixel_shuffle(cells.flatten(1, 2), 2)


def _convolution(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def build(output: str = "infection") -> nn.Module:
    """Build SegNet with random weights."""
    return SingleMask(SegNet(), output)
