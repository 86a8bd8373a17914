"""A network's convolutions with what stands around them folded in: the same function in less of the processor's time.

In inference a batch norm is a scale and a shift per channel, so it becomes part of the weights before it; and oneDNN
applies an activation to what a convolution has just computed, before that leaves the cache. Unfused, either one reads
and writes the whole feature map again, which takes as long as the convolution itself in networks of the MobileNet kind.

Which norm and which activation follow a convolution, and that nobody else reads what is between them, is seen by
watching one forward pass on tensors that have shapes and no values. So any network that is built of modules will do.

A decoder of the U-Net kind doubles its maps before it convolves them, by repeating pixels. That is part of a network's
code and of no module, so that it is known for the blocks of segmentation-models-pytorch alone (`DOUBLING_BLOCKS`). In
the default bundle it is a quarter of the forward pass.

A network's `first_convolutions`, which read the film or what is made of it channel by channel, compute in float32
whatever the others do. In the default bundle these are two, and made five sixths of what bf16 moved percent infected by
from fp32: 0.96 points on the mean of 64 real films with all of the network in bf16, 0.18 without these. Of the other
stages none made more than a tenth.
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
from cxrlib.models.inference.onednn import ACTIVATIONS, DOUBLING_BLOCKS, DoublingConvolution, FusedConvolution

_CONVOLUTIONS: Final = (nn.Conv2d, Conv2dSame)
_NORMS: Final = (nn.BatchNorm2d, BatchNormAct2d)


def can_fuse(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN computes on that device, in that arithmetic."""
    known = device.type == "cpu" and dtype is not torch.float16
    return known and has_onednn()


def compute_first_in_float32(module: nn.Module, films: tuple[int, int, int, int], device: torch.device) -> int:
    """Have a network's `first_convolutions` compute in float32 under autocast, and return how many these are.

    Parameters are those of `fuse`, which does it too: this is for a network that is not fused.
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
    """Return the names of the convolution that reads the film, and of those after it that mix no channels yet."""
    return _first(_watch(module, films))


def _first(watched: _Watched) -> list[str]:
    first: list[str] = []
    for call in watched.calls:
        if isinstance(call.module, nn.Conv2d):
            if first and call.module.weight.shape[1] != 1:
                break
            first.append(call.name)
    return first


def fuse(module: nn.Module, films: tuple[int, int, int, int], dtype: torch.dtype) -> int:
    """Fuse, in place, what can be fused, and return how many convolutions that are.

    Parameters
    ----------
    module : Module
        In evaluation mode; it must not be trained or explained any more.
    films : tuple of int
        Shape of what it reads: films, 1, rows, columns.
    dtype : torch.dtype
        float32 or bfloat16, in which the fused convolutions compute, but for the first ones.
    """
    watched = _watch(module, films)
    first = _first(watched)
    doubled = _doubled(watched)
    fused = 0
    for call in watched.calls:
        convolution = call.module
        if not isinstance(convolution, nn.Conv2d) or not _is_plain(convolution) or watched.times(call) > 1:
            continue
        norm = watched.only_reader(call, _NORMS)
        scale = norm.module if norm is not None and isinstance(norm.module, nn.BatchNorm2d) else None
        if scale is not None and scale.running_mean is None:  # it measures each batch
            continue
        own = None if scale is None else _own_activation(scale)
        follower = None if own else watched.only_reader(norm or call, tuple(ACTIVATIONS))
        activation = own or (follower.module if follower else None)
        if scale is None and activation is None:
            continue
        folds = type(activation) in ACTIVATIONS
        own_dtype = torch.float32 if call.name in first else dtype
        layers = convolution, scale, activation if folds else None, own_dtype
        if call.name in doubled:
            module.set_submodule(call.name, DoublingConvolution(*layers, doubled[call.name]))
        else:
            module.set_submodule(call.name, FusedConvolution(*layers))
        if norm is not None:
            module.set_submodule(norm.name, nn.Identity() if own is None or folds else own)
        if follower is not None:
            module.set_submodule(follower.name, nn.Identity())
        fused += 1
    for name, block in [(name, part) for name, part in module.named_modules() if type(part) in DOUBLING_BLOCKS]:
        if f"{name}.conv1.0" in doubled and isinstance(block.get_submodule("conv1.0"), DoublingConvolution):
            module.set_submodule(name, DOUBLING_BLOCKS[type(block)](block))
    for name in first:
        left = module.get_submodule(name)
        if isinstance(left, nn.Conv2d):
            _compute_in_float32(left, left.weight.device)
    return fused


def _doubled(watched: _Watched) -> dict[str, int]:
    """Return the convolutions whose maps a decoder's block doubles for them, by name, and how many of these it does."""
    doubled = {}
    for call in watched.calls:
        block = call.module
        if type(block) not in DOUBLING_BLOCKS or watched.times(call) > 1 or block.interpolation_mode != "nearest":
            continue
        # Of an encoder that gives no maps at one scale, blocks read or give maps of no channels.
        if not call.read.shape[1] or not call.given.shape[1]:
            continue
        twice = tuple(2 * side for side in call.read.shape[-2:])
        if call.given.shape[-2:] == twice and isinstance(block.get_submodule("attention1.attention"), nn.Identity):
            doubled[f"{call.name}.conv1.0"] = call.read.shape[1]
    return doubled


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A module at work: what it read and gave, and how many operations had been done when it gave it."""

    name: str
    module: nn.Module
    read: Tensor
    given: Tensor
    after: int


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes which tensors each operation reads, and keeps them, so that no two have one identity."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done = 0
        self.calls: list[_Call] = []
        self._reads: dict[int, list[int]] = {}
        self._kept: list[Tensor] = []

    def __torch_dispatch__(self, function: Any, _types: Any, arguments: Any = (), named: Any = None) -> Any:
        given = function(*arguments, **(named or {}))
        self.done += 1
        for tensor in tree_leaves((arguments, named, given)):
            if isinstance(tensor, Tensor):
                self._kept.append(tensor)
        for tensor in {id(leaf): leaf for leaf in tree_leaves((arguments, named)) if isinstance(leaf, Tensor)}:
            self._reads.setdefault(tensor, []).append(self.done)
        return given

    def times(self, call: _Call) -> int:
        """Return how often the module of `call` was called."""
        return sum(other.module is call.module for other in self.calls)

    def only_reader(self, call: _Call, kinds: tuple[type[nn.Module], ...]) -> _Call | None:
        """Return the call of a module of one of `kinds` that alone reads what `call` gave; None where there is none."""
        for other in self.calls:
            if other.read is not call.given or other.after <= call.after or type(other.module) not in kinds:
                continue
            after = [done for done in self._reads.get(id(call.given), ()) if done > call.after]
            # What is changed in place is read from then on as what it was made into.
            ours = [done for done in after if done <= other.after] if other.given is call.given else after
            return other if self.times(other) == 1 and len(ours) == 1 else None
        return None


def _watch(module: nn.Module, films: tuple[int, int, int, int]) -> _Watched:
    """Run a module on tensors without values, and return what its parts read and gave."""
    watched = _Watched()

    def note(name: str) -> Any:
        def after(part: nn.Module, read: tuple[Any, ...], given: Any) -> None:
            if read and isinstance(read[0], Tensor) and isinstance(given, Tensor):
                watched.calls.append(_Call(name, part, read[0], given, watched.done))

        return after

    parts = (*_CONVOLUTIONS, *_NORMS, *ACTIVATIONS, *DOUBLING_BLOCKS)
    hooks = [part.register_forward_hook(note(name)) for name, part in module.named_modules() if type(part) in parts]
    shapes = {name: tensor.to("meta") for name, tensor in (*module.named_parameters(), *module.named_buffers())}
    try:
        with torch.inference_mode(False), torch.no_grad(), watched:
            torch.func.functional_call(module, shapes, (torch.empty(films, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
    return watched


def _is_plain(convolution: nn.Conv2d) -> bool:
    known = type(convolution) in _CONVOLUTIONS and convolution.padding_mode == "zeros"
    return known and not isinstance(convolution.padding, str)


def _own_activation(norm: nn.Module) -> nn.Module | None:
    """Return the activation that is part of a norm of timm's."""
    if not isinstance(norm, BatchNormAct2d):
        return None
    activation: nn.Module = norm.act
    return None if isinstance(activation, nn.Identity) else activation
