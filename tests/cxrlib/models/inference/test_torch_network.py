"""Which convolutions of a network compute in float32, whatever the precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.precision import Precision
from cxrlib.models.inference.torch_network import TorchNetwork, first_convolutions

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("architecture", "arguments", "count"),
    [
        ("multitask-unet", {"encoder": "tu-tf_efficientnet_lite0"}, 2),
        ("qu-ex-unet", {"encoder": "resnet18", "output": "lung"}, 1),
    ],
)
def test_first_convolutions_are_the_one_that_reads_the_film_and_the_depthwise_ones_after_it(
    architecture: str, arguments: dict[str, str], count: int
) -> None:
    network = find_architecture(architecture).build(arguments).eval()
    first = [network.get_submodule(name) for name in first_convolutions(network, 64, 64)]
    assert len(first) == count
    assert all(isinstance(part, nn.Conv2d) for part in first)
    assert first[0].in_channels in {1, 3}
    assert all(part.groups == part.in_channels for part in first[1:])
    assert next(network.parameters()).device.type == "cpu", "tracing leaves the network as it was"


def test_in_bf16_only_the_first_convolutions_compute_in_float32() -> None:
    bundle = load_bundle("default")
    (spec,) = bundle.card.networks
    network = TorchNetwork(bundle, spec, "cpu", Precision.BF16)
    types: list[torch.dtype] = []
    for part in network._module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda _part, _read, result: types.append(result.dtype))
    network.run(network.to_tensor(torch.rand(1, 256, 256).numpy()))
    assert types[:2] == [torch.float32] * 2
    assert set(types[2:]) == {torch.bfloat16}
