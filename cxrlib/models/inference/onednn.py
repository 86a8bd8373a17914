"""Layers as oneDNN computes them: a convolution, what follows it, and the doubling before it, each in one step.

`cxrlib.models.inference.fused` says which layers of a network these take the place of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from segmentation_models_pytorch.decoders.unetplusplus.decoder import DecoderBlock
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding, pad_same
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

#: oneDNN's name for each activation that it can apply.
ACTIVATIONS: Final[Mapping[type[nn.Module], str]] = {
    nn.ReLU: "relu",
    nn.ReLU6: "hardtanh",
    nn.Hardtanh: "hardtanh",
    nn.SiLU: "swish",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
}
#: Which taps of a kernel of three lie on one pixel once what it reads was doubled, for each tap of the transposed
#: kernel of four. Result 2i reads the doubled pixels 2i - 1, 2i, 2i + 1, which are the pixels i - 1, i, i; result
#: 2i + 1 reads i, i, i + 1. A transposed convolution of stride 2 and padding 1 gives result y what tap y + 1 - 2i makes
#: of pixel i.
_TAPS: Final = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class FusedConvolution(nn.Module):
    """A convolution, the norm after it and the activation after that, in one step.

    Parameters
    ----------
    convolution : Conv2d
    norm : BatchNorm2d, optional
    activation : Module, optional
        One of `ACTIVATIONS`.
    dtype : torch.dtype
        Arithmetic of the inputs, the kernels and the result; sums and shifts are kept in float32, as a norm keeps them.
    """

    def __init__(
        self, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: nn.Module | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        weight, bias = _folded(convolution, norm)
        self.weight = _kernel(weight, dtype)
        self.bias = _shift(bias)
        self._same = isinstance(convolution, Conv2dSame)
        self._padding = [int(side) for side in convolution.padding]
        self._stride, self._dilation = list(convolution.stride), list(convolution.dilation)
        self._groups = convolution.groups
        self._activation, self._scalars = _by_onednn(activation)

    def forward(self, films: Tensor) -> Tensor:
        """Return the feature maps."""
        films = films.to(self.weight.dtype)
        return self._of_same_size(films) if self._same else self._convolved(films, self._padding)

    def _of_same_size(self, films: Tensor) -> Tensor:
        """Return the feature maps of films padded as TensorFlow does it ("same"): where the padding is odd, by one more
        at the far side.

        oneDNN pads both sides alike, and to pad beforehand copies the whole input: a twentieth of the forward pass of
        the default bundle in float32. So the near side gets one stride more than it is due, which puts one more line of
        results before the others: where results are fewer than what they are made of, it costs less to cut that off.
        """
        sides, kernel = films.shape[-2:], self.weight.shape[-2:]
        results = [-(-side // stride) for side, stride in zip(sides, self._stride, strict=True)]
        if self.weight.shape[0] * math.prod(results) >= films.shape[1] * math.prod(sides):
            return self._convolved(pad_same(films, list(kernel), self._stride, self._dilation), [0, 0])
        due = [get_same_padding(*axis) for axis in zip(sides, kernel, self._stride, self._dilation, strict=True)]
        more = [both % 2 for both in due]
        padding = [both // 2 + stride * odd for both, stride, odd in zip(due, self._stride, more, strict=True)]
        rows, columns = (slice(odd, odd + length) for odd, length in zip(more, results, strict=True))
        convolved = self._convolved(films, padding)
        return convolved[:, :, rows, columns].contiguous(memory_format=torch.channels_last)

    def _convolved(self, films: Tensor, padding: list[int]) -> Tensor:
        fused: Tensor = torch.ops.mkldnn._convolution_pointwise(
            films,
            self.weight,
            self.bias,
            padding,
            self._stride,
            self._dilation,
            self._groups,
            self._activation,
            self._scalars,
            None,
        )
        return fused


class DoublingConvolution(nn.Module):
    """A 3 x 3 convolution, with what follows it, of maps that are doubled first, each pixel becoming four.

    On doubled maps the nine taps fall on four different pixels, so their weights are added up beforehand and the maps
    are convolved as they are, by a transposed convolution: four products in place of nine, and nothing is doubled. What
    a U-Net joins to the doubled maps is convolved by itself and added, so that nothing is copied to stand beside it.

    Parameters
    ----------
    convolution : Conv2d
        Of 3 x 3, stride 1 and padding 1, over the doubled maps first and then over those joined to them.
    norm, activation, dtype
        As of a `FusedConvolution`.
    doubled : int
        How many channels are doubled, at least one.
    """

    def __init__(
        self,
        convolution: nn.Conv2d,
        norm: nn.BatchNorm2d | None,
        activation: nn.Module | None,
        dtype: torch.dtype,
        doubled: int,
    ) -> None:
        super().__init__()
        weight, bias = _folded(convolution, norm)
        self.bias = _shift(bias)
        # Added up in float64, where the order of the sum leaves no trace, and rounded once.
        taps = torch.tensor(_TAPS, dtype=torch.float64, device=weight.device)
        small = torch.einsum("ra,cb,oiab->iorc", taps, taps, weight[:, :doubled].detach().double())
        self.weight = _kernel(small, dtype)
        joined = weight[:, doubled:]
        self.joined = _kernel(joined, dtype) if joined.shape[1] else None
        self._activation, self._scalars = _by_onednn(activation)

    def forward(self, maps: Tensor, joined: Tensor | None) -> Tensor:
        """Return the feature maps, twice as many rows and columns as `maps` has and as many as `joined`."""
        dtype = self.weight.dtype
        last = self.joined is None
        doubled: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
            maps.to(dtype),
            self.weight,
            self.bias,
            [1, 1],
            [0, 0],
            [2, 2],
            [1, 1],
            1,
            self._activation if last else "none",
            self._scalars if last else [],
            None,
        )
        if self.joined is None or joined is None:
            return doubled
        both: Tensor = torch.ops.mkldnn._convolution_pointwise_(
            doubled,
            joined.to(dtype),
            self.joined,
            None,
            [1, 1],
            [1, 1],
            [1, 1],
            1,
            "add",
            1.0,
            self._activation,
            self._scalars,
            None,
        )
        return both


class _Block(nn.Module):
    """A block of a decoder of segmentation-models-pytorch whose first convolution is a `DoublingConvolution`."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.doubling, *others = block.get_submodule("conv1").children()
        self.rest = nn.Sequential(*others, block.get_submodule("conv2"), block.get_submodule("attention2"))

    def _decoded(self, maps: Tensor, joined: Tensor | None) -> Tensor:
        decoded: Tensor = self.rest(self.doubling(maps, joined))
        return decoded


class _UnetBlock(_Block):
    def forward(self, feature_map: Tensor, _rows: int, _columns: int, skip_connection: Tensor | None = None) -> Tensor:
        return self._decoded(feature_map, skip_connection)


class _UnetPlusPlusBlock(_Block):
    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        return self._decoded(x, skip)


#: Blocks that double maps, join others to them and convolve both, and what takes their place.
DOUBLING_BLOCKS: Final[Mapping[type[nn.Module], type[_Block]]] = {
    UnetDecoderBlock: _UnetBlock,
    DecoderBlock: _UnetPlusPlusBlock,
}


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Return the weight and bias of a convolution with the norm after it."""
    weight, bias = convolution.weight, convolution.bias
    if norm is not None and norm.running_mean is not None and norm.running_var is not None:
        mean, variance = norm.running_mean, norm.running_var
        weight, bias = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, norm.weight, norm.bias)
    return weight, bias


def _kernel(weight: Tensor, dtype: torch.dtype) -> nn.Parameter:
    kernel = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
    return nn.Parameter(kernel, requires_grad=False)


def _shift(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)


def _by_onednn(activation: nn.Module | None) -> tuple[str, list[float]]:
    """Return oneDNN's name of an activation, and its bounds."""
    if activation is None:
        return "none", []
    bounds = [activation.min_val, activation.max_val] if isinstance(activation, nn.Hardtanh) else []
    return ACTIVATIONS[type(activation)], bounds
