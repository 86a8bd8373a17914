"""Layers that oneDNN computes in one step: a convolution with its batch norm, activation and preceding upsampling.

`cxrlib.models.inference.fused` chooses the layers of a network that these replace.
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
#: Row k lists which of the 3 taps of a convolution sum to tap k of the equivalent 4-tap transposed kernel. On upsampled
#: input, result 2i reads the upsampled pixels 2i - 1, 2i, 2i + 1, which are the pixels i - 1, i, i; result 2i + 1 reads
#: i, i, i + 1. In a transposed convolution of stride 2 and padding 1, result y gets pixel i times tap y + 1 - 2i.
_TAPS: Final = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))


class FusedConvolution(nn.Module):
    """A convolution, the batch norm after it and the activation after that, in one step.

    Parameters
    ----------
    convolution : Conv2d
    norm : BatchNorm2d, optional
    activation : Module, optional
        One of `ACTIVATIONS`.
    dtype : torch.dtype
        Data type of the inputs, the kernels and the result. Sums and biases are float32, as in a batch norm.
    """

    def __init__(
        self, convolution: nn.Conv2d, norm: nn.BatchNorm2d | None, activation: nn.Module | None, dtype: torch.dtype
    ) -> None:
        super().__init__()
        weight, bias = _folded(convolution, norm)
        self.weight = _kernel(weight, dtype)
        self.bias = _bias(bias)
        self._same = isinstance(convolution, Conv2dSame)
        self._padding = [int(side) for side in convolution.padding]
        self._stride, self._dilation = list(convolution.stride), list(convolution.dilation)
        self._groups = convolution.groups
        self._activation, self._scalars = _onednn_activation(activation)

    def forward(self, films: Tensor) -> Tensor:
        """Return the feature maps."""
        films = films.to(self.weight.dtype)
        return self._convolve_same(films) if self._same else self._convolve(films, self._padding)

    def _convolve_same(self, films: Tensor) -> Tensor:
        """Convolve with TensorFlow's "same" padding: odd padding puts one more pixel at the far side.

        oneDNN pads both sides alike. Padding beforehand copies the whole input, which takes a twentieth of the forward
        pass of the default bundle in float32. So the near side is padded by one stride more than needed, which adds one
        line before the results. Cutting it off is cheaper if the results are smaller than the input.
        """
        sides, kernel = films.shape[-2:], self.weight.shape[-2:]
        results = [-(-side // stride) for side, stride in zip(sides, self._stride, strict=True)]
        if self.weight.shape[0] * math.prod(results) >= films.shape[1] * math.prod(sides):
            return self._convolve(pad_same(films, list(kernel), self._stride, self._dilation), [0, 0])
        needed = [get_same_padding(*axis) for axis in zip(sides, kernel, self._stride, self._dilation, strict=True)]
        odd_sides = [both % 2 for both in needed]
        padding = [both // 2 + stride * odd for both, stride, odd in zip(needed, self._stride, odd_sides, strict=True)]
        rows, columns = (slice(odd, odd + length) for odd, length in zip(odd_sides, results, strict=True))
        convolved = self._convolve(films, padding)
        return convolved[:, :, rows, columns].contiguous(memory_format=torch.channels_last)

    def _convolve(self, films: Tensor, padding: list[int]) -> Tensor:
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


class UpsamplingConvolution(nn.Module):
    """Nearest-neighbour upsampling by two, then a fused 3 x 3 convolution, computed as one transposed convolution.

    On upsampled maps the nine taps read only four different pixels. So the weights are added up beforehand, and the
    maps are convolved at their own size: four products instead of nine, and no upsampled copy. The skip connection that
    a U-Net concatenates is convolved separately and added, which saves the copy of a concatenation.

    Parameters
    ----------
    convolution : Conv2d
        3 x 3, stride 1 and padding 1. Its first input channels are the upsampled maps, the others the skip connection.
    norm, activation, dtype
        As for `FusedConvolution`.
    upsampled : int
        Number of upsampled channels, at least one.
    """

    def __init__(
        self,
        convolution: nn.Conv2d,
        norm: nn.BatchNorm2d | None,
        activation: nn.Module | None,
        dtype: torch.dtype,
        upsampled: int,
    ) -> None:
        super().__init__()
        weight, bias = _folded(convolution, norm)
        self.bias = _bias(bias)
        # Added up in float64, so that the order of the sum does not matter, and rounded once.
        taps = torch.tensor(_TAPS, dtype=torch.float64, device=weight.device)
        small = torch.einsum("ra,cb,oiab->iorc", taps, taps, weight[:, :upsampled].detach().double())
        self.weight = _kernel(small, dtype)
        joined = weight[:, upsampled:]
        self.joined = _kernel(joined, dtype) if joined.shape[1] else None
        self._activation, self._scalars = _onednn_activation(activation)

    def forward(self, maps: Tensor, joined: Tensor | None) -> Tensor:
        """Return feature maps with twice the rows and columns of `maps`; `joined`, the skip connection, has as many."""
        dtype = self.weight.dtype
        last = self.joined is None
        result: Tensor = torch.ops.mkldnn._convolution_transpose_pointwise(
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
            return result
        both: Tensor = torch.ops.mkldnn._convolution_pointwise_(
            result,
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
    """A decoder block of segmentation-models-pytorch whose first convolution is an `UpsamplingConvolution`."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.first, *others = block.get_submodule("conv1").children()
        self.rest = nn.Sequential(*others, block.get_submodule("conv2"), block.get_submodule("attention2"))

    def _decode(self, maps: Tensor, joined: Tensor | None) -> Tensor:
        decoded: Tensor = self.rest(self.first(maps, joined))
        return decoded


class _UnetBlock(_Block):
    def forward(self, feature_map: Tensor, _rows: int, _columns: int, skip_connection: Tensor | None = None) -> Tensor:
        return self._decode(feature_map, skip_connection)


class _UnetPlusPlusBlock(_Block):
    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        return self._decode(x, skip)


#: Decoder blocks that upsample maps, concatenate a skip connection and convolve both, with their replacements.
UPSAMPLING_BLOCKS: Final[Mapping[type[nn.Module], type[_Block]]] = {
    UnetDecoderBlock: _UnetBlock,
    DecoderBlock: _UnetPlusPlusBlock,
}


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[Tensor, Tensor | None]:
    """Return the weight and bias of a convolution with its batch norm folded in."""
    weight, bias = convolution.weight, convolution.bias
    if norm is not None and norm.running_mean is not None and norm.running_var is not None:
        mean, variance = norm.running_mean, norm.running_var
        weight, bias = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, norm.weight, norm.bias)
    return weight, bias


def _kernel(weight: Tensor, dtype: torch.dtype) -> nn.Parameter:
    kernel = weight.detach().to(dtype).contiguous(memory_format=torch.channels_last)
    return nn.Parameter(kernel, requires_grad=False)


def _bias(bias: Tensor | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)


def _onednn_activation(activation: nn.Module | None) -> tuple[str, list[float]]:
    """Return oneDNN's name of an activation, and its parameters."""
    if activation is None:
        return "none", []
    bounds = [activation.min_val, activation.max_val] if isinstance(activation, nn.Hardtanh) else []
    return ACTIVATIONS[type(activation)], bounds
