"""Parts of inflocnet (Miah et al.) and its four rivals: encoders, convolution blocks, class head and output.

A node of the paper's Eq. 4 is two 3x3 convolutions. The paper does not state that batch normalisation follows each, but
Table 9 implies it. U-Net++ has 30,140,545 parameters on VGG16 and 36,644,225 on a plain encoder of 64 to 1024 channels.
Our counts agree to the last digit if every convolution outside VGG16 has a norm, upsampling has no weights, films have
three channels, and the running means and variances of the norms are counted, as Keras does. The grey film is therefore
repeated three times.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn
from torch.nn import functional

from cxrlib.models.architectures.single_mask import MaskOutput

#: Channels at 1, 1/2, 1/4 and 1/8 of the film's rows and columns.
WIDTHS: Final = (64, 128, 256, 512)
#: Channels of the centre, at 1/16: of VGG16 (its fifth block) and of a plain encoder.
VGG16_CENTRE: Final = 512
PLAIN_CENTRE: Final = 1024

_COLOURS: Final = 3
_DENSE: Final = (512, 128)
_DROPOUT: Final = 0.5  # not stated


def conv_block(in_channels: int, out_channels: int, count: int = 2) -> nn.Sequential:
    """Return `count` 3x3 convolutions, each with batch normalisation and ReLU; rows and columns do not change."""
    layers: list[nn.Module] = []
    for before, after in pairwise([in_channels, *[out_channels] * count]):
        layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def vgg16() -> nn.Module:
    """Return VGG16's convolutions: four blocks, and the fifth as the centre (sections 4.1.1 and 4.1.2).

    It maps (films, 3, rows, columns) to five maps, of `WIDTHS` and `VGG16_CENTRE` channels. It takes the weights
    of the library's encoder ``vgg16``, which are torchvision's.
    """
    encoder: nn.Module = get_encoder("vgg16", in_channels=_COLOURS, depth=len(WIDTHS), weights=None)
    return encoder


class PlainEncoder(nn.Module):
    """The encoder of the rivals without transfer: maps as from `vgg16`, but the last has `PLAIN_CENTRE` channels."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            conv_block(before, after) for before, after in pairwise((_COLOURS, *WIDTHS, PLAIN_CENTRE))
        )

    def forward(self, films: Tensor) -> list[Tensor]:
        """Map (films, 3, rows, columns) to five maps, each half the size of the one before."""
        maps = [self.blocks[0](films)]
        for block in self.blocks[1:]:
            maps.append(block(functional.max_pool2d(maps[-1], 2)))
        return maps


def upsample(values: Tensor) -> Tensor:
    """Double the rows and columns, bilinearly (section 4.1.4)."""
    return functional.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)


class ClassHead(nn.Module):
    """Class logits from the centre (section 4.1.5).

    Three 3x3 convolutions with ReLU and 2x2 max-pooling reduce the 8x8x512 centre to 1x1x64. Dense layers of 512 and
    128 with dropout follow, and one neuron per class. The caller applies the softmax (Table 3).

    Parameters
    ----------
    centre : int
        Channels of the centre.
    widths : sequence of int
        Channels of the three convolutions.
    classes : int
    """

    def __init__(self, centre: int, widths: Sequence[int], classes: int = 3) -> None:
        super().__init__()
        first, second, third = (
            nn.Sequential(nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True))
            for before, after in pairwise((centre, *widths))
        )
        pool = nn.MaxPool2d(2, ceil_mode=True)  # a film smaller than the paper's has a centre below 8x8
        # At the paper's 128x128 the third pooling gives one value per channel; the adaptive one does so at any size.
        self.convolutions = nn.Sequential(first, pool, second, pool, third, nn.AdaptiveMaxPool2d(1), nn.Flatten())
        dense: list[nn.Module] = []
        for before, after in pairwise((widths[-1], *_DENSE)):
            dense += [nn.Linear(before, after), nn.ReLU(inplace=True), nn.Dropout(_DROPOUT)]
        self.dense = nn.Sequential(*dense, nn.Linear(_DENSE[-1], classes))

    def forward(self, centre: Tensor) -> Tensor:
        """Map (films, channels, rows, columns) to (films, classes)."""
        logits: Tensor = self.dense(self.convolutions(centre))
        return logits


class EncoderDecoder(nn.Module):
    """An encoder, a decoder and, if it gives the lung, a class head on the centre.

    Parameters
    ----------
    encoder : nn.Module
        Maps (films, 3, rows, columns) to five maps, fine to coarse.
    decoder : nn.Module
        Maps the five maps to one map of `WIDTHS[0]` channels at the size of the film.
    output : str
        ``lung`` or ``infection``.
    class_head : ClassHead or None
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, output: str, class_head: ClassHead | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.features = nn.Identity()  # named, so that Grad-CAM can hook it
        self.decoder = decoder
        self.mask = nn.Conv2d(WIDTHS[0], 1, kernel_size=1)
        self.output = MaskOutput(output)
        self.class_head = class_head

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        """Map (films, 1, rows, columns) to logits by output name; rows and columns are multiples of 16."""
        maps = self.encoder(films.expand(-1, _COLOURS, -1, -1))
        centre = self.features(maps[-1])
        logits = {self.output.value: self.mask(self.decoder([*maps[:-1], centre]))[:, 0]}
        if self.class_head is not None:
            logits["classes"] = self.class_head(centre)
        return logits
