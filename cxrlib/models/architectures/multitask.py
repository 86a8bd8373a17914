"""The project's own network: one encoder, run once, gives the lung mask, the infection mask and the class.

The papers run two to five networks per film (qu-ex section 3.1, hybrid section 3). Lung, infection and class depend on
the same structures, so one encoder serves all three at the cost of one. That makes an archive of millions of films
affordable. inflocnet section 3 shares an encoder between lung and class in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import segmentation_models_pytorch as smp
from torch import Tensor, nn


class MultitaskUnet(nn.Module):
    """U-Net with one mask channel per segmentation output and a class head on the encoder's deepest features.

    Parameters
    ----------
    encoder : str
        Name of a segmentation-models-pytorch encoder; the prefix ``tu-`` selects one of timm.
    decoder_channels : sequence of int
        Channels of the five decoder blocks, deepest first.
    classes : int
        Number of classes; 0 omits the class head.
    masks : sequence of str
        Segmentation outputs, in the order of the mask channels.
    dropout : float
        Share of the pooled features that dropout removes before the class head.
    """

    def __init__(
        self,
        encoder: str,
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        classes: int = 3,
        masks: Sequence[str] = ("lung", "infection"),
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.masks = tuple(masks)
        head = {"classes": classes, "pooling": "avg", "dropout": dropout} if classes else None
        self.unet = smp.Unet(
            encoder_name=encoder,
            encoder_weights=None,
            in_channels=1,
            decoder_channels=list(decoder_channels),
            classes=len(self.masks),
            aux_params=head,
        )

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        """Map (films, 1, rows, columns) to logits by output name."""
        out = self.unet(films)
        masks, classes = out if isinstance(out, tuple) else (out, None)
        logits = {name: masks[:, channel] for channel, name in enumerate(self.masks)}
        if classes is not None:
            logits["classes"] = classes
        return logits


def build(**arguments: object) -> nn.Module:
    """Build a `MultitaskUnet` with random weights."""
    return MultitaskUnet(**arguments)  # type: ignore[arg-type]
