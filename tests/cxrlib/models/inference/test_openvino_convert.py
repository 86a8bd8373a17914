"""A graph has no weights, gives the probabilities of torch, and computes its first convolutions in float32."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import safetensors.torch
import torch

from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.openvino_convert import convert
from cxrlib.models.inference.openvino_graph import ConversionError, Graph
from cxrlib.models.inference.openvino_library import core
from cxrlib.models.inference.torch_network import load_network
from tests.support.networks import ONE_PER_ARCHITECTURE, set_weights

pytestmark = pytest.mark.usefixtures("one_thread")

#: Largest size of a graph's constants, in bytes: axes, shapes, the first kernels, and the scales and shifts of norms.
CONSTANTS = 64_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_weights_of_any_type_stay_in_the_safetensors_file(dtype: torch.dtype) -> None:
    case = ONE_PER_ARCHITECTURE[1]
    network = case.build()
    set_weights(network)
    stored = {name: tensor.to(dtype) if tensor.ndim > 1 else tensor for name, tensor in network.state_dict().items()}
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in stored.items()})
    network.load_state_dict(stored)
    films = case.films()
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(films))["lung"]).numpy()
    graph = convert(network, case.side, case.side, weights)
    assert len(graph.constants) < CONSTANTS
    model = graph.probabilities(weights, ["lung"], films.shape)
    found = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([films])[0]
    assert np.abs(found - expected).max() < 1e-5


def test_equal_networks_have_equal_graphs() -> None:
    case = ONE_PER_ARCHITECTURE[1]
    network = case.build()
    set_weights(network)
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    assert convert(network, 64, 64, weights) == convert(network, 64, 64, weights)


def test_the_shipped_graph_is_the_one_that_the_weights_give() -> None:
    bundle = load_bundle("default")
    (spec,) = bundle.card.networks
    weights = bundle.weights(spec)
    graph = convert(load_network(spec, weights), 256, 256, weights)
    assert (graph.xml, graph.constants) == bundle.graph(spec)


def test_convolutions_read_maps_before_they_are_upsampled() -> None:
    bundle = load_bundle("default")
    (spec,) = bundle.card.networks
    stored = bundle.graph(spec)
    assert stored is not None
    kinds = Counter(operation.get_type_name() for operation in Graph(*stored).model(bundle.weights(spec)).get_ops())
    assert kinds["ConvolutionBackpropData"] == 5
    assert kinds["Interpolate"] == 0


class _Upsampled(torch.nn.Module):
    """A convolution of an upsampled map, joined with others."""

    def __init__(self, kernel: int, joined: int, mode: str = "nearest", *, last: bool = False) -> None:
        super().__init__()
        self.mode, self.last = mode, last
        self.first = torch.nn.Conv2d(1, 3, 3, padding=1)
        self.skips = torch.nn.ModuleList(torch.nn.Conv2d(1, 2, 1) for _ in range(joined))
        self.conv = torch.nn.Conv2d(3 + 2 * joined, 4, kernel, padding=kernel // 2)
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, films: torch.Tensor) -> dict[str, torch.Tensor]:
        maps = torch.nn.functional.interpolate(self.first(films[..., ::2, ::2]), scale_factor=2, mode=self.mode)
        parts = [maps, *(skip(films) for skip in self.skips)]
        joined = torch.cat(parts[::-1] if self.last else parts, dim=1) if self.skips else maps
        return {"lung": torch.relu(self.norm(self.conv(joined))).mean(dim=1)}


@pytest.mark.parametrize(
    ("network", "folded"),
    [
        (_Upsampled(3, 0), 1),
        (_Upsampled(3, 1), 1),
        (_Upsampled(3, 2), 1),
        (_Upsampled(3, 1, last=True), 0),
        (_Upsampled(5, 1), 0),
        (_Upsampled(3, 1, mode="bilinear"), 0),
    ],
    ids=["alone", "joined", "joined with two", "joined as the last", "5 x 5", "bilinear"],
)
def test_only_repeated_pixels_that_3_by_3_pixels_read_are_folded(network: _Upsampled, folded: int) -> None:
    torch.manual_seed(1)
    torch.nn.init.uniform_(network.norm.weight, 0.5, 2)
    network.norm.running_mean = torch.rand(4) - 0.5
    network.eval()
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    model = convert(network, 16, 16, weights).model(weights)  # it compares the logits with those of torch
    kinds = Counter(operation.get_type_name() for operation in model.get_ops())
    assert kinds["ConvolutionBackpropData"] == folded
    assert kinds["Interpolate"] == 1 - folded


def test_in_bf16_the_first_convolutions_compute_in_float32() -> None:
    bundle = load_bundle("default")
    (spec,) = bundle.card.networks
    stored = bundle.graph(spec)
    assert stored is not None
    model = Graph(*stored).probabilities(bundle.weights(spec), ["lung"], (1, 1, 256, 256))
    compiled = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    if compiled.get_property("INFERENCE_PRECISION_HINT").to_string() != "bf16":
        return  # this CPU has no bf16
    layers = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops()]
    types = [
        layer["runtimePrecision"].astype(str) for layer in layers if layer["layerType"].astype(str) == "Convolution"
    ]
    assert types[:2] == ["f32", "f32"]
    assert set(types[2:]) == {"bf16"}


def test_a_network_that_cannot_be_traced_is_a_conversion_error() -> None:
    class Unpooling(torch.nn.Module):
        def forward(self, films: torch.Tensor) -> dict[str, torch.Tensor]:
            pooled, indices = torch.nn.functional.max_pool2d(films, 2, return_indices=True)
            return {"lung": torch.nn.functional.max_unpool2d(pooled, indices, [2, 2])[:, 0]}

    with pytest.raises(ConversionError, match="RuntimeError"):
        convert(Unpooling(), 8, 8, safetensors.torch.save({}))
