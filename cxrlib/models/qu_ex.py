"""qu-ex (Tahir et al. 2021): U-Net, U-Net++ and FPN on five encoders, for lung or for infection.

Section 3.1 names the three networks and five encoders, all to be had in segmentation-models-pytorch; the paper was
made with PyTorch too. What it leaves open is decided by its Table 4, which prints the trainable parameters of all
fifteen:

- One grey channel. With three, four of the five U-Net++ miss the table.
- Two output channels, background and target, under a softmax, as section 3.1 says. `SingleMask` gives their
  difference.
- U-Net and U-Net++ end in a 1x1 convolution, as section 3.1 says (the library's default is 3x3).
- FPN ends in a 3x3 convolution over the *sum* of the pyramid's levels. Section 3.1 says that they are concatenated,
  but the head would then have 9,218 parameters instead of 2,306, and ResNet18 (13.05 M) and DenseNet121 (9.30 M)
  would miss the table (13.04 M, 9.29 M). With the library's 1x1 head, DenseNet161 and ResNet50 would miss it by 0.01.

So built, all fifteen agree with Table 4 to its last digit, cut off rather than rounded (U-Net++ on ResNet50 has
48,979,362: the paper prints 48.97).

Parallel and cascaded (section 4.2) are a matter of what the infection network reads, which the bundle's card says.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationHead
from torch import nn

from cxrlib.models.single_mask import SingleMask

#: Background and target.
_CHANNELS: Final = 2


class Encoder(StrEnum):
    """The encoders of section 3.1, shallow to deep, by the library's names."""

    RESNET18 = "resnet18"
    RESNET50 = "resnet50"
    DENSENET121 = "densenet121"
    DENSENET161 = "densenet161"
    INCEPTIONV4 = "inceptionv4"


def build_unet(encoder: str, output: str) -> nn.Module:
    """Build U-Net with random weights; the entry of the catalog calls this, as it does those below."""
    net = smp.Unet(Encoder(encoder).value, encoder_weights=None, in_channels=1, classes=_CHANNELS)
    return _with_pointwise_head(net, output)


def build_unetplusplus(encoder: str, output: str) -> nn.Module:
    """Build U-Net++ with random weights."""
    net = smp.UnetPlusPlus(Encoder(encoder).value, encoder_weights=None, in_channels=1, classes=_CHANNELS)
    return _with_pointwise_head(net, output)


def build_fpn(encoder: str, output: str) -> nn.Module:
    """Build the feature pyramid network with random weights."""
    net = smp.FPN(Encoder(encoder).value, encoder_weights=None, in_channels=1, classes=_CHANNELS)
    # The pyramid's levels meet at a quarter of the film's rows and columns.
    channels = net.segmentation_head[0].in_channels
    net.segmentation_head = SegmentationHead(channels, _CHANNELS, kernel_size=3, upsampling=4)
    return SingleMask(net, output)


def _with_pointwise_head(net: nn.Module, output: str) -> nn.Module:
    channels = net.segmentation_head[0].in_channels  # type: ignore[index, union-attr]
    net.segmentation_head = SegmentationHead(channels, _CHANNELS, kernel_size=1)
    return SingleMask(net, output)
