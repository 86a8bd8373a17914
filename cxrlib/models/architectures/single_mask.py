"""A segmentation network that gives one mask, as the catalog wants it: a dict of logits by output."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor, nn


class MaskOutput(StrEnum):
    """What the one mask of a network is."""

    LUNG = "lung"
    INFECTION = "infection"


class SingleMask(nn.Module):
    """Names the one mask of a network and brings it to the form (films, rows, columns).

    Parameters
    ----------
    net : nn.Module
        Maps (films, 1, rows, columns) to (films, channels, rows, columns), logits. One channel is the mask. Two are
        background and mask under a softmax; their difference is the mask's logit, since the softmax of two numbers is
        the sigmoid of their difference. So nothing is lost, and binary cross-entropy on it is the paper's
        cross-entropy over two channels.
    output : str
        ``lung`` or ``infection``.
    """

    def __init__(self, net: nn.Module, output: str) -> None:
        super().__init__()
        self.net = net
        self.output = MaskOutput(output)

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        """Map (films, 1, rows, columns) to the mask's logits by its name."""
        logits: Tensor = self.net(films)
        mask = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        return {self.output.value: mask}
