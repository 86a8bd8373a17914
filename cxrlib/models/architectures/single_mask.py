"""Wrap a segmentation network with one mask in the form that the catalog requires: a dict of logits by output name."""

from __future__ import annotations

from enum import StrEnum

from torch import Tensor, nn


class MaskOutput(StrEnum):
    """Output name of a network with one mask."""

    LUNG = "lung"
    INFECTION = "infection"


class SingleMask(nn.Module):
    """A network with one mask, returned under its output name with shape (films, rows, columns).

    Parameters
    ----------
    net : nn.Module
        Maps (films, 1, rows, columns) to logits (films, channels, rows, columns). A single channel is the mask. Two
        channels are background and mask under a softmax. Their difference is the mask's logit, because the softmax of
        two numbers is the sigmoid of their difference. Binary cross-entropy on it equals the paper's cross-entropy over
        two channels.
    output : str
        ``lung`` or ``infection``.
    """

    def __init__(self, net: nn.Module, output: str) -> None:
        super().__init__()
        self.net = net
        self.output = MaskOutput(output)

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        """Map (films, 1, rows, columns) to the mask's logits, by output name."""
        logits: Tensor = self.net(films)
        mask = logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits[:, 0]
        return {self.output.value: mask}
