"""Grad-CAM: which parts of a film support the class that a network predicts (hybrid, section Localization).

The map is the sum of a layer's channels, each weighted by the mean over the film of the gradient of the class logit
with respect to that channel. Negative values are set to 0 (Selvaraju et al., Eq. 1 and 2). Captum computes it.
"""

from __future__ import annotations

import threading

import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from cxrlib.errors import BundleError


class Explainer:
    """Runs a network and explains the most probable class: one forward pass and part of a backward pass.

    Neither weights nor film require a gradient, so the backward pass ends at the explained layer. Layers before it
    store no activations, and those after it are small.

    Parameters
    ----------
    module : Module
        Returns ``classes``, logits of shape (films, classes). None of its parameters may require a gradient.
    layer : str
        Dotted path of a module within it whose output is (films, channels, rows, columns).

    Raises
    ------
    BundleError
        The network has no such layer.
    """

    def __init__(self, module: nn.Module, layer: str) -> None:
        try:
            self._layer = module.get_submodule(layer)
        except AttributeError as error:
            raise BundleError(
                f"localisation: expected a layer of {type(module).__name__}; got {layer!r}: {error}"
            ) from error
        self._module = module
        # Captum registers its hook on the shared layer: two threads at once would get each other's maps.
        self._lock = threading.Lock()

    def __call__(self, films: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the network's logits by output, and the maps: (films, rows, columns of the layer), none negative.

        A film's map is computed from its own logit only, so it does not depend on the other films of the batch.
        """
        logits: dict[str, Tensor] = {}

        def largest_class_logit(batch: Tensor) -> Tensor:
            logits.update(self._module(batch))
            return logits["classes"].max(dim=1).values  # the first of equal values, as in the row

        # By default, cuDNN may add the gradients of convolutions in any order. On a GPU, the flags are those that the
        # engine has set: they count for all threads.
        deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        with self._lock, deterministic:
            maps = LayerGradCam(largest_class_logit, self._layer).attribute(films, relu_attributions=True)
        if maps.ndim != 4:
            raise BundleError(
                f"localisation: expected a layer whose output is (films, channels, rows, columns); got {maps.ndim} "
                "dimensions"
            )
        return {name: tensor.detach() for name, tensor in logits.items()}, maps[:, 0].detach()
