"""Which layers are fused into a convolution, and which are not: those that another layer reads, or that run twice."""

from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp
import torch
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoderBlock
from segmentation_models_pytorch.decoders.unetplusplus.decoder import DecoderBlock
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from cxrlib.models.inference.fused import can_fuse, compute_first_in_float32, first_convolutions, fuse
from cxrlib.models.inference.onednn import FusedConvolution, UpsamplingConvolution

FILMS = (2, 1, 16, 16)


class Net(nn.Module):
    """A convolution, a norm and an activation; `kind` says what else reads the values between them."""

    def __init__(self, kind: str, activation: nn.Module) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8, track_running_stats=kind != "measured")
        self.activation = activation
        self.last = nn.Conv2d(8, 1, 1)

    def forward(self, films: Tensor) -> Tensor:
        features = self.first(films)
        normed = self.norm(features)
        extra: Tensor | float = 0
        if self.kind in {"convolution read", "norm read"}:
            extra = (features if self.kind == "convolution read" else normed).mean()
        active = self.activation(normed)
        if self.kind == "activation twice":
            active = self.activation(active - 1)
        if self.kind == "norm read later":
            extra = normed.mean()
        out: Tensor = self.last(active) + extra
        return out


def with_random_norms(network: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -1, 1)
            if module.running_mean is not None and module.running_var is not None:
                nn.init.uniform_(module.running_mean, -1, 1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval().requires_grad_(False)


def check_fused_equals_unfused(network: nn.Module, expected: int, dtype: torch.dtype = torch.float32) -> None:
    films = torch.rand(FILMS)
    with torch.inference_mode():
        before = network(films)
        assert fuse(network, (1, *FILMS[1:]), dtype) == expected
        after = network(films)
    assert torch.allclose(before, after.float(), atol=1e-5 if dtype is torch.float32 else 0.1)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU])
def test_norm_and_activation_are_fused_into_the_convolution(activation: type[nn.Module], in_place: bool) -> None:
    network = with_random_norms(Net("plain", activation(inplace=in_place)))
    check_fused_equals_unfused(network, 1)
    assert [type(part) for part in network.children()] == [FusedConvolution, nn.Identity, nn.Identity, nn.Conv2d]


@pytest.mark.parametrize(
    ("kind", "in_place", "layers"),
    [
        ("convolution read", False, [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]),
        ("measured", False, [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d]),
        ("norm read", False, [FusedConvolution, nn.Identity, nn.ReLU, nn.Conv2d]),
        ("norm read", True, [FusedConvolution, nn.Identity, nn.ReLU, nn.Conv2d]),
        ("norm read later", False, [FusedConvolution, nn.Identity, nn.ReLU, nn.Conv2d]),
        ("norm read later", True, [FusedConvolution, nn.Identity, nn.Identity, nn.Conv2d]),
        ("activation twice", False, [FusedConvolution, nn.Identity, nn.ReLU, nn.Conv2d]),
    ],
)
def test_layers_that_others_read_or_that_run_twice_are_not_fused(
    kind: str, in_place: bool, layers: list[type[nn.Module]]
) -> None:
    network = with_random_norms(Net(kind, nn.ReLU(inplace=in_place)))
    check_fused_equals_unfused(network, sum(part is FusedConvolution for part in layers))
    assert [type(part) for part in network.children()] == layers


@pytest.mark.parametrize(
    ("activation", "layers"), [(nn.ReLU6, nn.Identity), (nn.ELU, nn.ELU), (nn.Identity, nn.Identity)]
)
def test_norms_and_convolutions_of_timm_are_fused(activation: type[nn.Module], layers: type[nn.Module]) -> None:
    network = with_random_norms(nn.Sequential(Conv2dSame(1, 8, 3, stride=2), BatchNormAct2d(8, act_layer=activation)))
    check_fused_equals_unfused(network, 1)
    assert [type(part) for part in network.children()] == [FusedConvolution, layers]


@pytest.mark.parametrize("sides", [(16, 16), (15, 17), (16, 13)])
@pytest.mark.parametrize("stride", [1, 2, 3, (2, 1)])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5, (5, 2)])
@pytest.mark.parametrize(
    "rest",
    [
        {"out_channels": 8, "groups": 8, "dilation": 1},
        {"out_channels": 8, "groups": 1, "dilation": 2},
        {"out_channels": 32, "groups": 1, "dilation": 1},
    ],
    ids=["depthwise", "dilated", "more channels"],
)
def test_same_padding_equals_that_of_tensorflow(
    rest: dict[str, int], kernel: int | tuple[int, int], stride: int | tuple[int, int], sides: tuple[int, int]
) -> None:
    padded = Conv2dSame(8, kernel_size=kernel, stride=stride, **rest)
    network = with_random_norms(nn.Sequential(padded, BatchNormAct2d(rest["out_channels"], act_layer=nn.ReLU6)))
    films = torch.rand(2, 8, *sides)
    with torch.inference_mode():
        before = network(films)
        assert fuse(network, (1, 8, *sides), torch.float32) == 1
        after = network(films)
    assert after.shape == before.shape
    assert torch.allclose(before, after, atol=1e-5)


class Decoder(nn.Module):
    """A decoder block that reads maps of half the film's size and a full-size skip connection of `joined` channels."""

    def __init__(self, block: type[nn.Module], joined: int, uses: int = 1, **options: str) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 1, stride=2)
        self.skip = nn.Conv2d(1, joined, 1) if joined else None
        self.block = block(16, joined, 16, **options)
        self.needs_sizes = block is UnetDecoderBlock
        self.uses = uses

    def forward(self, films: Tensor) -> Tensor:
        maps = self.stem(films)
        joined = None if self.skip is None else self.skip(films)
        for _ in range(self.uses):
            maps = maps[..., : -(-films.shape[-2] // 2), : -(-films.shape[-1] // 2)]
            if self.needs_sizes:
                maps = self.block(maps, *films.shape[-2:], skip_connection=joined)
            else:
                maps = self.block(maps, *([] if joined is None else [joined]))
        return maps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("joined", [0, 3, 16])
@pytest.mark.parametrize("block", [UnetDecoderBlock, DecoderBlock])
def test_upsampling_is_folded_into_the_next_convolution(
    block: type[nn.Module], joined: int, dtype: torch.dtype
) -> None:
    network = with_random_norms(Decoder(block, joined))
    check_fused_equals_unfused(network, 2, dtype)
    kinds = [type(part) for part in network.modules()]
    assert kinds.count(UpsamplingConvolution) == kinds.count(FusedConvolution) == 1
    assert block not in kinds


@pytest.mark.parametrize("decoder", [smp.Unet, smp.UnetPlusPlus])
def test_an_encoder_without_maps_at_one_scale_is_supported(decoder: type[nn.Module]) -> None:
    network = with_random_norms(decoder("tu-convnext_atto", encoder_weights=None, decoder_channels=(16, 12, 8, 6, 4)))
    films = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = network(films)
        fuse(network, (1, 3, 64, 64), torch.float32)
        assert torch.allclose(before, network(films), atol=1e-4)
    assert any(isinstance(part, UpsamplingConvolution) for part in network.modules())


@pytest.mark.parametrize("sides", [(2, 2), (2, 14), (10, 4)])
def test_folded_upsampling_pads_the_borders_as_before(sides: tuple[int, int]) -> None:
    network = with_random_norms(Decoder(UnetDecoderBlock, 3))
    films = torch.rand(3, 1, *sides)
    with torch.inference_mode():
        before = network(films)
        fuse(network, (1, 1, *sides), torch.float32)
        assert torch.allclose(before, network(films), atol=1e-5)


@pytest.mark.parametrize(
    ("joined", "uses", "sides", "options"),
    [
        (3, 1, FILMS[2:], {"interpolation_mode": "bilinear"}),
        (3, 1, FILMS[2:], {"attention_type": "scse"}),
        (3, 1, (15, 16), {}),
        (0, 2, FILMS[2:], {}),
    ],
    ids=["bilinear", "attention", "odd size", "used twice"],
)
def test_a_block_that_does_more_than_upsample_is_not_replaced(
    joined: int, uses: int, sides: tuple[int, int], options: dict[str, str]
) -> None:
    network = with_random_norms(Decoder(UnetDecoderBlock, joined, uses, **options))
    films = torch.rand(2, 1, *sides)
    with torch.inference_mode():
        before = network(films)
        fuse(network, (1, 1, *sides), torch.float32)
        assert torch.allclose(before, network(films), atol=1e-5)
    assert isinstance(network.block, UnetDecoderBlock)


def test_a_convolution_that_runs_twice_is_not_fused() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Conv2d(1, 1, 3, padding=1)
            self.norms = nn.ModuleList([nn.BatchNorm2d(1), nn.BatchNorm2d(1)])

        def forward(self, films: Tensor) -> Tensor:
            for norm in self.norms:
                films = norm(self.shared(films))
            return films

    check_fused_equals_unfused(with_random_norms(Twice()), 0)


def test_a_fused_bf16_convolution_is_within_bf16_rounding() -> None:
    check_fused_equals_unfused(with_random_norms(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())), 1, torch.bfloat16)


def encoder() -> nn.Sequential:
    """The beginning of a MobileNet: a stem, a depthwise convolution, and one that mixes channels."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(),
    )


def test_the_first_convolutions_are_those_before_channels_are_mixed() -> None:
    assert first_convolutions(encoder(), (1, *FILMS[1:])) == ["0", "3"]
    assert first_convolutions(nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)), (1, 3, 4, 4)) == ["0"]


def test_the_first_convolutions_are_fused_in_float32() -> None:
    network = with_random_norms(encoder())
    fuse(network, (1, *FILMS[1:]), torch.bfloat16)
    dtypes = [part.weight.dtype for part in network if isinstance(part, FusedConvolution)]
    assert dtypes == [torch.float32, torch.float32, torch.bfloat16, torch.bfloat16]


def test_a_first_convolution_that_cannot_be_fused_computes_in_float32_too() -> None:
    network = with_random_norms(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Tanhshrink(), nn.Conv2d(8, 8, 1), nn.ReLU()))
    assert fuse(network, (1, *FILMS[1:]), torch.bfloat16) == 1
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        first = network[0](torch.rand(FILMS))
        assert first.dtype is torch.float32
        assert network[2](first).dtype is torch.bfloat16


def test_unfused_first_convolutions_compute_in_float32() -> None:
    network = with_random_norms(encoder())
    results: dict[int, Tensor] = {}
    for place, part in enumerate(network):
        part.register_forward_hook(lambda _part, _read, result, place=place: results.update({place: result}))
    films = torch.rand(FILMS)
    with torch.inference_mode():
        network(films)
        exact = results[3]
        assert compute_first_in_float32(network, (1, *FILMS[1:]), torch.device("cpu")) == 2
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(films)
    assert torch.equal(results[3], exact)
    assert results[6].dtype is torch.bfloat16


def test_layers_are_fused_only_on_a_cpu_and_not_in_fp16() -> None:
    assert can_fuse(torch.device("cpu"), torch.bfloat16)
    assert not can_fuse(torch.device("cpu"), torch.float16)
    assert not can_fuse(torch.device("cuda"), torch.bfloat16)
