"""A graph has no weights, gives the probabilities of torch, and computes its first convolutions in float32."""

from __future__ import annotations

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
