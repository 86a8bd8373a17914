"""Grad-CAM: what in a film spoke for the class that a network gives it (hybrid, section Localization).

A map is the sum of a layer's channels, each weighted by the mean over the film of the gradient of the class's logit
with respect to that channel, and what is negative set to 0 (Selvaraju et al., Eq. 1 and 2). Captum computes it.
"""

from __future__ import annotations

import threading

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from cxrlib.errors import BundleError


class Explainer:
    """Runs a network and explains the class that it finds most probable: one forward pass, part of a backward one.

    Gradients reach back to the explained layer and no further, for neither the weights nor the film ask for one: what
    comes before the layer keeps nothing, and what comes after is small.

    Parameters
    ----------
    module : Module
        Gives ``classes``, logits of shape (films, classes). No parameter of it may ask for a gradient.
    layer : str
        Dotted path of a module within it whose output is (films, channels, rows, columns).

    Raises
    ------
    BundleError
        There is no such layer.
    """

    def __init__(self, module: nn.Module, layer: str) -> None:
        try:
            self._layer = module.get_submodule(layer)
        except AttributeError as error:
            raise BundleError(f"localisation: no layer {layer!r} in {type(module).__name__}: {error}") from error
        self._module = module
        # Captum hangs its hook on the shared layer: two threads at once would hand each other their films' maps.
        self._lock = threading.Lock()

    def __call__(self, films: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the network's logits by output, and the maps: (films, rows, columns of the layer), none negative.

        Each film's map comes from its own logit alone, so it does not depend on what stands beside it.
        """
        logits: dict[str, Tensor] = {}

        def most_probable(batch: Tensor) -> Tensor:
            logits.update(self._module(batch))
            return logits["classes"].max(dim=1).values  # of equals the first, as in the row

        # cuDNN's default for gradients of convolutions may add in any order.
        deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
        with self._lock, deterministic:
            maps = LayerGradCam(most_probable, self._layer).attribute(films, relu_attributions=True)
        if maps.ndim != 4:
            raise BundleError(
                f"localisation: expected a layer whose output is (films, channels, rows, columns); got {maps.ndim} "
                "dimensions"
            )
        return {name: tensor.detach() for name, tensor in logits.items()}, maps[:, 0].detach()
