"""qu-ex (Tahir et al. 2021): U-Net, U-Net++ and FPN on five encoders, for lung or for infection.

Section 3.1 names the three networks and five encoders, all to be had in segmentation-models-pytorch; the paper was
made with PyTorch too. What it leaves open is decided by its Table 4, which prints the trainable parameters of all
fifteen:

- One grey channel. With three, U-Net on ResNet18 would have 14.33 M, and the paper prints 14.32.
- Two output channels, background and target, under a softmax, as section 3.1 says. `SingleMask` gives their
  difference.
- U-Net and U-Net++ end in a 1x1 convolution, as section 3.1 says (the library's default is 3x3).
- FPN concatenates the levels of its pyramid, as section 3.1 says (the library's default adds them). The 3x3
  convolution that section 3.1 puts after them is read as those that make each level: after the concatenation it would
  bring ResNet18 to 13.05 M and DenseNet121 to 9.30 M, and the paper prints 13.04 and 9.29. So the last one is 1x1,
  the library's.

So built, the ten U-Nets and FPNs round to the figures of Table 4. Of the U-Net++, ResNet18 does, and the other four
round to 0.01 M more: the table has their figures cut off (48.97 for 48,979,362 on ResNet50). No head explains it; the
smallest part that would is the finest decoder block, with 6,976 parameters, without which all five would round to the
table. The library's U-Net++ has that block, and so it stays.

Parallel and cascaded (section 4.2) are a matter of what the infection network reads, which the bundle's card says.
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
    """Build U-Net with random weights; the entry of the catalog calls this, as it does those below."""
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
