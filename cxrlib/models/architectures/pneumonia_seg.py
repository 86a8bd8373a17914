"""pneumonia-seg (Kyi Pyar): DeepLabV3 for pneumonia regions. Its SegNet is in `cxrlib.models.architectures.segnet`.

Section 3.3, Figure 2 and Table 1 describe a ResNet with atrous convolutions, an atrous spatial pyramid and a decoder
with dropout 0.5. The depth of the ResNet is not stated; ResNet50 is the backbone of the DeepLabV3 paper. Output stride
8 and the dilations (12, 24, 36) are those of the library and the best ones of that paper. The paper prints no parameter
counts. Its films are RGB images with three equal channels; one grey channel, with the first layer's filters summed, is
the same network.
"""

from __future__ import annotations

from typing import Final

import segmentation_models_pytorch as smp
from torch import nn

from cxrlib.models.architectures.single_mask import SingleMask

_DROPOUT: Final = 0.5


def build_deeplabv3(output: str = "infection") -> nn.Module:
    """Build DeepLabV3 on ResNet50 with random weights."""
    net = smp.DeepLabV3("resnet50", encoder_weights=None, in_channels=1, classes=1, decoder_aspp_dropout=_DROPOUT)
    return SingleMask(net, output)
