"""Every architecture runs on OpenVINO with torch's logits, from a graph without weights (`make test-openvino`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.torch_network import load_network
from tests.support.networks import ONE_PER_ARCHITECTURE, Case, set_weights

pytestmark = [pytest.mark.openvino, pytest.mark.usefixtures("one_thread")]

#: Largest size of a graph's constants, in bytes: axes, shapes, and CoAtNet's table of positions.
CONSTANTS = 24_000
#: Largest difference of logits, as a share of the largest. Measured: 1e-5.
TOLERANCE = 3e-5


def _run(model: Any, films: np.ndarray, precision: str = "f32") -> list[np.ndarray]:
    from cxrlib.models.inference.openvino_graph import core

    found = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})([films])
    return [found[index] for index in range(len(model.outputs))]


@pytest.mark.parametrize(
    ("case", "dtype"),
    [*((case, torch.float32) for case in ONE_PER_ARCHITECTURE), (ONE_PER_ARCHITECTURE[1], torch.float16)],
    ids=str,
)
def test_a_graph_gives_the_probabilities_of_torch(case: Case, dtype: torch.dtype) -> None:
    from cxrlib.models.inference import openvino_graph

    network = case.build()
    set_weights(network)
    stored = {name: tensor.to(dtype) if tensor.ndim > 1 else tensor for name, tensor in network.state_dict().items()}
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in stored.items()})
    network.load_state_dict(stored)
    films = case.films()
    with torch.inference_mode():
        logits = network(torch.from_numpy(films))
    graph = openvino_graph.Graph.from_bytes(openvino_graph.convert(network, case.side, case.side, weights).to_bytes())
    assert len(graph.constants) < CONSTANTS, "the weights are in the safetensors file"
    model = openvino_graph.read(graph, weights, sorted(logits), films.shape, float32_stem=False)
    for name, found in zip(sorted(logits), _run(model, films), strict=True):
        raw = logits[name]
        expected = torch.softmax(raw, dim=1) if name == "classes" else torch.sigmoid(raw)
        assert np.abs(found - expected.numpy()).max() < TOLERANCE * max(1, float(raw.abs().max()))


def test_in_bf16_the_first_convolutions_compute_in_float32() -> None:
    from cxrlib.models.inference import openvino_graph

    bundle = load_bundle("default")
    (spec,) = bundle.card.networks
    weights = bundle.weights(spec)
    graph = openvino_graph.convert(load_network(spec, weights), 256, 256, weights)
    model = openvino_graph.read(graph, weights, ["lung"], (1, 1, 256, 256), float32_stem=True)
    compiled = openvino_graph.core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})
    if compiled.get_property("INFERENCE_PRECISION_HINT").to_string() != "bf16":
        return  # this CPU has no bf16
    layers = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ordered_ops()]
    types = [
        layer["runtimePrecision"].astype(str) for layer in layers if layer["layerType"].astype(str) == "Convolution"
    ]
    assert types[:2] == ["f32", "f32"]
    assert set(types[2:]) == {"bf16"}


def test_a_network_that_cannot_be_traced_is_a_conversion_error() -> None:
    from cxrlib.models.inference.openvino_graph import ConversionError, convert

    class Unpooling(torch.nn.Module):
        def forward(self, films: torch.Tensor) -> dict[str, torch.Tensor]:
            pooled, indices = torch.nn.functional.max_pool2d(films, 2, return_indices=True)
            return {"lung": torch.nn.functional.max_unpool2d(pooled, indices, [2, 2])[:, 0]}

    with pytest.raises(ConversionError, match="RuntimeError"):
        convert(Unpooling(), 8, 8, safetensors.torch.save({}))
