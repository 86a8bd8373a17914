"""hybrid (Garg, Gupta, Ghosh): the lung segmenters, U-Net, LinkNet and FPN on five encoders.

Section Segmentation tries each network on each encoder and keeps an ensemble of three: U-Net on InceptionResNetV2,
LinkNet on SE-ResNeXt50, FPN on EfficientNet-B2. The ensemble is the mean of the three probabilities, so it is three
networks on one card. The paper states one grey channel, no pretrained weights and one sigmoid output. It prints no
parameter counts.

The paper used a Keras library (its reference 9). segmentation-models-pytorch is its counterpart by the same author.
With the defaults of both, U-Net has the same blocks and widths. As there, FPN concatenates its levels and has no
dropout. Differences:

- LinkNet upsamples here by transposed 4x4 convolutions, as in LinkNet's own paper (an option of the Keras library). By
  default, the Keras library repeats pixels and convolves 3x3. The last block has 32 channels here and 16 there.
- FPN has here one 3x3 convolution with group norm per doubling on the way to the finest level, and none after the
  concatenation. There, each level has two with batch norm, and one follows the concatenation.
"""

from __future__ import annotations

from enum import StrEnum

import segmentation_models_pytorch as smp
from torch import nn

from cxrlib.models.architectures.single_mask import MaskOutput, SingleMask


class HybridEncoder(StrEnum):
    """The encoders of Tables 1 to 3, as the paper writes them."""

    VGG16 = "vgg16"
    SERESNEXT50 = "seresnext50"
    INCEPTIONRESNETV2 = "inceptionresnetv2"
    MOBILENETV2 = "mobilenetv2"
    EFFICIENTNETB2 = "efficientnetb2"

    @property
    def library_name(self) -> str:
        """The encoder's name in segmentation-models-pytorch."""
        return {
            HybridEncoder.SERESNEXT50: "se_resnext50_32x4d",
            HybridEncoder.MOBILENETV2: "mobilenet_v2",
            HybridEncoder.EFFICIENTNETB2: "efficientnet-b2",
        }.get(self, self.value)


def build_unet(encoder: str = "inceptionresnetv2") -> nn.Module:
    """Build U-Net with random weights."""
    return _lung(smp.Unet, encoder)


def build_linknet(encoder: str = "seresnext50") -> nn.Module:
    """Build LinkNet with random weights."""
    return _lung(smp.Linknet, encoder)


def build_fpn(encoder: str = "efficientnetb2") -> nn.Module:
    """Build the feature pyramid network with random weights."""
    return _lung(smp.FPN, encoder, decoder_merge_policy="cat", decoder_dropout=0.0)


def _lung(network: type[nn.Module], encoder: str, **decoder: str | float) -> nn.Module:
    net = network(HybridEncoder(encoder).library_name, encoder_weights=None, in_channels=1, classes=1, **decoder)
    return SingleMask(net, MaskOutput.LUNG)
