"""qu-ex (Tahir et al. 2021): U-Net, U-Net++ and FPN on five encoders, for lung or for infection.

Section 3.1 names the three networks and the five encoders. segmentation-models-pytorch has all of them; the paper used
PyTorch too. Table 4 prints the trainable parameters of all fifteen combinations, which decides what the text leaves
open:

- One grey channel. With three, U-Net on ResNet18 would have 14.33 M parameters; the paper prints 14.32.
- Two output channels, background and target, under a softmax, as section 3.1 says. `SingleMask` returns their
  difference.
- U-Net and U-Net++ end in a 1x1 convolution, as section 3.1 says (the library's default is 3x3).
- FPN concatenates the levels of its pyramid, as section 3.1 says (the library's default adds them). Section 3.1 puts a
  3x3 convolution after them. We read this as the convolutions that make each level: one after the concatenation would
  give 13.05 M on ResNet18 and 9.30 M on DenseNet121, and the paper prints 13.04 and 9.29. So the last convolution is
  the library's 1x1.

The ten U-Nets and FPNs then round to the figures of Table 4. Of the U-Net++ networks, ResNet18 does; the other four
round to 0.01 M more, because the table truncates their figures (48.97 for 48,979,362 on ResNet50). No choice of head
explains it. Without the finest decoder block (6,976 parameters) all five would round to the table, but the library's
U-Net++ has that block, so it stays.

Parallel and cascaded systems (section 4.2) differ only in what the infection network reads, which the bundle's card
states.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import segmentation_models_pytorch as smp
from segmentation_models_pytorch.base import SegmentationHead
from torch import nn

from cxrlib.models.architectures.single_mask import SingleMask

#: Background and target.
_CHANNELS: Final = 2


class QuExEncoder(StrEnum):
    """The encoders of section 3.1, shallow to deep, by the library's names."""

    RESNET18 = "resnet18"
    RESNET50 = "resnet50"
    DENSENET121 = "densenet121"
    DENSENET161 = "densenet161"
    INCEPTIONV4 = "inceptionv4"


def build_unet(encoder: str, output: str) -> nn.Module:
    """Build U-Net with random weights."""
    net = smp.Unet(QuExEncoder(encoder).value, encoder_weights=None, in_channels=1, classes=_CHANNELS)
    return _with_pointwise_head(net, output)


def build_unetplusplus(encoder: str, output: str) -> nn.Module:
    """Build U-Net++ with random weights."""
    net = smp.UnetPlusPlus(QuExEncoder(encoder).value, encoder_weights=None, in_channels=1, classes=_CHANNELS)
    return _with_pointwise_head(net, output)


def build_fpn(encoder: str, output: str) -> nn.Module:
    """Build the feature pyramid network with random weights."""
    name = QuExEncoder(encoder).value
    net = smp.FPN(name, encoder_weights=None, in_channels=1, classes=_CHANNELS, decoder_merge_policy="cat")
    return SingleMask(net, output)


def _with_pointwise_head(net: nn.Module, output: str) -> nn.Module:
    channels = net.segmentation_head[0].in_channels  # type: ignore[index, union-attr]
    net.segmentation_head = SegmentationHead(channels, _CHANNELS, kernel_size=1)
    return SingleMask(net, output)
