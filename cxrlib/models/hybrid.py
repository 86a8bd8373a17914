"""hybrid (Garg, Gupta, Ghosh): the lung segmenters, U-Net, LinkNet and FPN on five encoders.

Section Segmentation tries each network on each encoder and keeps an ensemble of three: U-Net on InceptionResNetV2,
LinkNet on SE-ResNeXt50, FPN on EfficientNet-B2. The paper built them with the Keras library of which
segmentation-models-pytorch is the counterpart by the same author, with a grey channel, no pretrained weights and one
sigmoid output; its decoders have the same blocks and widths. The ensemble is the mean of the three probabilities; it
is three networks on one card, not a network. The paper prints no parameter counts.
"""

from __future__ import annotations

from enum import StrEnum

import segmentation_models_pytorch as smp
from torch import nn

from cxrlib.models.single_mask import MaskOutput, SingleMask


class Encoder(StrEnum):
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
            Encoder.SERESNEXT50: "se_resnext50_32x4d",
            Encoder.MOBILENETV2: "mobilenet_v2",
            Encoder.EFFICIENTNETB2: "efficientnet-b2",
        }.get(self, self.value)


def build_unet(encoder: str = "inceptionresnetv2") -> nn.Module:
    """Build U-Net with random weights; the entry of the catalog calls this, as it does those below."""
    return _lung(smp.Unet, encoder)


def build_linknet(encoder: str = "seresnext50") -> nn.Module:
    """Build LinkNet with random weights."""
    return _lung(smp.Linknet, encoder)


def build_fpn(encoder: str = "efficientnetb2") -> nn.Module:
    """Build the feature pyramid network with random weights."""
    return _lung(smp.FPN, encoder)


def _lung(network: type[nn.Module], encoder: str) -> nn.Module:
    net = network(Encoder(encoder).library_name, encoder_weights=None, in_channels=1, classes=1)
    return SingleMask(net, MaskOutput.LUNG)
