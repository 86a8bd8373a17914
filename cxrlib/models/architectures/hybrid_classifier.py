"""hybrid (Garg, Gupta, Ghosh): CoAtNet-0 on the lung-masked film, and the rival classifiers of Table 4.

CoAtNet-0 is timm's ``coatnet_0_224``. Its depths (2, 3, 5, 2), widths (96, 192, 384, 768) and stem of 64 are those of
CoAtNet-0 in Dai et al. 2021 (hybrid's reference 7); with 1000 classes it has the same 25 M parameters. timm's other
one, ``coatnet_0_rw_224``, is deeper (7 blocks instead of 5). Xception is timm's ``legacy_xception``, the original one.
The film is grey, 256x256 (section Classification), so the attention's table of relative positions is built for that
grid.

The paper prints no parameter counts and does not say which layer Grad-CAM reads. Here it is the last feature map before
the average pooling (``features``; 8x8 for a film of 256x256), as in the Grad-CAM paper (hybrid's reference 6).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import timm
from torch import Tensor, nn


class ClassifierEncoder(StrEnum):
    """The rivals of Table 4, as the paper writes them."""

    XCEPTION = "xception"
    RESNET50 = "resnet50"
    INCEPTIONRESNETV2 = "inceptionresnetv2"

    @property
    def library_name(self) -> str:
        """The network's name in timm."""
        return {
            ClassifierEncoder.XCEPTION: "legacy_xception",
            ClassifierEncoder.INCEPTIONRESNETV2: "inception_resnet_v2",
        }.get(self, self.value)


class Classifier(nn.Module):
    """A timm network with a linear head.

    Parameters
    ----------
    name : str
        timm's name of the network.
    classes : int
        Number of classes.
    **options
        Further options of `timm.create_model`.
    """

    def __init__(self, name: str, classes: int, **options: Any) -> None:
        super().__init__()
        self.encoder: Any = timm.create_model(name, pretrained=False, in_chans=1, num_classes=0, **options)
        self.features = nn.Identity()  # named, so that Grad-CAM can hook it
        width: Any = self.encoder.head_hidden_size
        self.head = nn.Linear(width, classes)

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        """Map (films, 1, rows, columns) to ``classes``, (films, classes)."""
        features = self.features(self.encoder.forward_features(films))
        return {"classes": self.head(self.encoder.forward_head(features))}


def build_coatnet(rows: int = 256, columns: int = 256, classes: int = 3) -> nn.Module:
    """Build CoAtNet-0 for films of `rows` x `columns` pixels with random weights.

    Raises
    ------
    ValueError
        `rows` or `columns` is not a multiple of 32, the factor by which the network shrinks a film.
    """
    if rows % 32 or columns % 32:
        raise ValueError(f"expected rows and columns that are multiples of 32; got {rows} x {columns}")
    return Classifier("coatnet_0_224", classes, img_size=(rows, columns))


def build_classifier(encoder: str, classes: int = 3) -> nn.Module:
    """Build one of the rivals with random weights."""
    return Classifier(ClassifierEncoder(encoder).library_name, classes)
