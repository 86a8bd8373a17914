"""Fuse each convolution of a network with its batch norm and activation: the same function in less CPU time.

At inference, a batch norm is a scale and a shift per channel, so it is folded into the weights of the convolution
before it. oneDNN applies the activation to the convolution's result before that leaves the cache. Unfused, each of the
two reads and writes the whole feature map again. In networks like MobileNet, that takes as long as the convolution.

`fuse` traces one forward pass on tensors that have shapes but no values. The trace shows which norm and activation
follow a convolution, and whether any other layer reads the values in between. So any network made of modules can be
fused.

Upsampling is folded into the next convolution, where a U-Net decoder repeats pixels and then convolves. That is part of
the decoder's code and not a module, so it works only for the blocks of segmentation-models-pytorch that
`UPSAMPLING_BLOCKS` lists. In the default bundle they take a quarter of the forward pass.

The first convolutions (see `first_convolutions`) always compute in float32. In the default bundle there are two. They
cause five sixths of the change of percent infected from fp32 to bf16: 0.96 points on the mean of 64 real films if the
whole network is bf16, 0.18 if these two are float32. No other stage causes more than a tenth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cxrlib.models.inference.hardware import has_onednn
from cxrlib.models.inference.onednn import ACTIVATIONS, UPSAMPLING_BLOCKS, FusedConvolution, UpsamplingConvolution

_CONVOLUTIONS: Final = (nn.Conv2d, Conv2dSame)
_NORMS: Final = (nn.BatchNorm2d, BatchNormAct2d)


def can_fuse(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether oneDNN computes on this device in this data type."""
    supported = device.type == "cpu" and dtype is not torch.float16
    return supported and has_onednn()


def compute_first_in_float32(module: nn.Module, films: tuple[int, int, int, int], device: torch.device) -> int:
    """Make a network's `first_convolutions` compute in float32 under autocast, and return their number.

    For networks that are not fused; `fuse` does it too. Parameters are those of `fuse`.
    """
    first = first_convolutions(module, films)
    for name in first:
        _compute_in_float32(module.get_submodule(name), device)
    return len(first)


def _compute_in_float32(convolution: nn.Module, device: torch.device) -> None:
    forward = convolution.forward

    def in_float32(features: Tensor) -> Tensor:
        with torch.autocast(device.type, enabled=False):
            result: Tensor = forward(features.float())
        return result

    convolution.forward = in_float32


def first_convolutions(module: nn.Module, films: tuple[int, int, int, int]) -> list[str]:
    """Return the names of the convolution that reads the film and of the depthwise ones that follow it directly."""
    return _first_convolutions(_trace(module, films))


def _first_convolutions(trace: _Trace) -> list[str]:
    first: list[str] = []
    for call in trace.calls:
        if isinstance(call.module, nn.Conv2d):
            if first and call.module.weight.shape[1] != 1:
                break
            first.append(call.name)
    return first


def fuse(module: nn.Module, films: tuple[int, int, int, int], dtype: torch.dtype) -> int:
    """Fuse the layers of a network in place, and return the number of fused convolutions.

    Parameters
    ----------
    module : Module
        In evaluation mode. It can no longer be trained or explained.
    films : tuple of int
        Shape of its input: films, 1, rows, columns.
    dtype : torch.dtype
        float32 or bfloat16. The fused convolutions compute in it, except the first ones.
    """
    trace = _trace(module, films)
    first = _first_convolutions(trace)
    upsampled = _upsampled_channels(trace)
    fused = 0
    for call in trace.calls:
        convolution = call.module
        if not isinstance(convolution, nn.Conv2d) or not _is_supported(convolution) or trace.count(call) > 1:
            continue
        norm = trace.only_reader(call, _NORMS)
        scale = norm.module if norm is not None and isinstance(norm.module, nn.BatchNorm2d) else None
        if scale is not None and scale.running_mean is None:  # it computes the statistics of each batch
            continue
        own = None if scale is None else _activation_of_norm(scale)
        follower = None if own else trace.only_reader(norm or call, tuple(ACTIVATIONS))
        activation = own or (follower.module if follower else None)
        if scale is None and activation is None:
            continue
        folds = type(activation) in ACTIVATIONS
        own_dtype = torch.float32 if call.name in first else dtype
        layers = convolution, scale, activation if folds else None, own_dtype
        if call.name in upsampled:
            module.set_submodule(call.name, UpsamplingConvolution(*layers, upsampled[call.name]))
        else:
            module.set_submodule(call.name, FusedConvolution(*layers))
        if norm is not None:
            module.set_submodule(norm.name, nn.Identity() if own is None or folds else own)
        if follower is not None:
            module.set_submodule(follower.name, nn.Identity())
        fused += 1
    for name, block in [(name, part) for name, part in module.named_modules() if type(part) in UPSAMPLING_BLOCKS]:
        if f"{name}.conv1.0" in upsampled and isinstance(block.get_submodule("conv1.0"), UpsamplingConvolution):
            module.set_submodule(name, UPSAMPLING_BLOCKS[type(block)](block))
    for name in first:
        unfused = module.get_submodule(name)
        if isinstance(unfused, nn.Conv2d):
            _compute_in_float32(unfused, unfused.weight.device)
    return fused


def _upsampled_channels(trace: _Trace) -> dict[str, int]:
    """Return the convolutions whose input a decoder block upsamples, by name, with the number of upsampled channels."""
    upsampled = {}
    for call in trace.calls:
        block = call.module
        if type(block) not in UPSAMPLING_BLOCKS or trace.count(call) > 1 or block.interpolation_mode != "nearest":
            continue
        # If an encoder has no maps at one scale, blocks read or return maps of no channels.
        if not call.read.shape[1] or not call.result.shape[1]:
            continue
        twice = tuple(2 * side for side in call.read.shape[-2:])
        if call.result.shape[-2:] == twice and isinstance(block.get_submodule("attention1.attention"), nn.Identity):
            upsampled[f"{call.name}.conv1.0"] = call.read.shape[1]
    return upsampled


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """One call of a module: what it read, what it returned, and the number of operations done by then."""

    name: str
    module: nn.Module
    read: Tensor
    result: Tensor
    after: int


class _Trace(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records which tensors each operation reads. It stores the tensors, so that no two share an identity."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done = 0
        self.calls: list[_Call] = []
        self._reads: dict[int, list[int]] = {}
        self._stored: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, _types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = function(*arguments, **(named or {}))
        self.done += 1
        for tensor in tree_leaves((arguments, named, result)):
            if isinstance(tensor, Tensor):
                self._stored.append(tensor)
        for tensor in {id(leaf): leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, Tensor)}:
            self._reads.setdefault(tensor, []).append(self.done)
        return result

    def count(self, call: _Call) -> int:
        """Return how often the module of `call` was called."""
        return sum(other.module is call.module for other in self.calls)

    def only_reader(self, call: _Call, kinds: tuple[type[nn.Module], ...]) -> _Call | None:
        """Return the call of a module of `kinds` that is the only reader of `call`'s result; None if there is none."""
        for other in self.calls:
            if other.read is not call.result or other.after <= call.after or type(other.module) not in kinds:
                continue
            after = [done for done in self._reads.get(id(call.result), ()) if done > call.after]
            # Reads after an in-place change are reads of the changed values.
            relevant = [done for done in after if done <= other.after] if other.result is call.result else after
            return other if self.count(other) == 1 and len(relevant) == 1 else None
        return None


def _trace(module: nn.Module, films: tuple[int, int, int, int]) -> _Trace:
    """Run a module on tensors without values, and return the calls of its parts."""
    trace = _Trace()

    def record(name: str) -> Any:
        def after(part: nn.Module, read: tuple[Any, ...], result: Any) -> None:
            if read and isinstance(read[0], Tensor) and isinstance(result, Tensor):
                trace.calls.append(_Call(name, part, read[0], result, trace.done))

        return after

    parts = (*_CONVOLUTIONS, *_NORMS, *ACTIVATIONS, *UPSAMPLING_BLOCKS)
    hooks = [part.register_forward_hook(record(name)) for name, part in module.named_modules() if type(part) in parts]
    shapes = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    try:
        with torch.inference_mode(False), torch.no_grad(), trace:
            torch.func.functional_call(module, shapes, (torch.empty(films, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
    return trace


def _is_supported(convolution: nn.Conv2d) -> bool:
    """Return whether a convolution pads with zeros by a fixed number of pixels (or as TensorFlow does)."""
    zeros = type(convolution) in _CONVOLUTIONS and convolution.padding_mode == "zeros"
    return zeros and not isinstance(convolution.padding, str)


def _activation_of_norm(norm: nn.Module) -> nn.Module | None:
    """Return the activation that a timm norm contains, if any."""
    if not isinstance(norm, BatchNormAct2d):
        return None
    activation: nn.Module = norm.act
    return None if isinstance(activation, nn.Identity) else activation
