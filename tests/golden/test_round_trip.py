"""Every architecture survives export to a bundle and loading, with bit-identical weights.

The export stores kernels as float16 (`cxrlib.training.export.network_weights`) and other weights unchanged. So a loaded
network is compared with the original after its kernels are rounded in place.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cxrlib.models.bundle import Bundle, load_bundle
from cxrlib.models.inference.precision import Precision
from cxrlib.models.inference.torch_network import TorchNetwork, load_network
from cxrlib.training.export import TrainedNetwork, export_bundle, network_weights
from cxrlib.training.history import StopReason
from tests.support.networks import ONE_PER_ARCHITECTURE, Case, set_weights
from tests.support.tiny_bundles import ARGUMENTS
from tests.support.tiny_recipes import recipe_network, tiny_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

#: Normalisation on the bundle's card.
MEAN, STD = 0.25, 0.5
_LOSSES = {
    "lung": {"kind": "binary-cross-entropy"},
    "infection": {"kind": "binary-cross-entropy"},
    "classes": {"kind": "categorical-cross-entropy"},
}


def exported(case: Case, network: nn.Module, outputs: list[str], folder: Path) -> Bundle:
    """Export a network as a training does, with a tiny lung network that a card must have; load the bundle."""
    plans = [
        recipe_network(
            "tried",
            architecture=case.architecture,
            arguments=case.arguments,
            outputs=outputs,
            loss={name: _LOSSES[name] for name in outputs},
        ),
        recipe_network(
            "lung", arguments={**ARGUMENTS, "masks": ["lung"]}, outputs=["lung"], loss={"lung": _LOSSES["lung"]}
        ),
    ]
    recipe = tiny_recipe(*plans, input={"rows": case.side, "columns": case.side, "mean": MEAN, "std": STD})
    lung = Case("multitask-unet", recipe.networks[1].arguments).build()
    trained = [
        TrainedNetwork(plan, network_weights(module), chosen=(), epochs=1, ended=StopReason.EPOCHS, started_from={})
        for plan, module in zip(recipe.networks, (network, lung), strict=True)
    ]
    export_bundle(recipe, trained, None, str(folder))
    return load_bundle(str(folder))


def rounded(network: nn.Module) -> nn.Module:
    """Round the kernels of a network in place, as the export does."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.copy_(parameter.half())
    return network


@pytest.mark.parametrize("case", ONE_PER_ARCHITECTURE, ids=str)
def test_a_network_loaded_from_a_bundle_gives_bit_identical_logits(case: Case, tmp_path: Path) -> None:
    network = case.build()
    set_weights(network)
    bundle = exported(case, network, case.outputs(network), tmp_path)
    spec = bundle.card.networks[0]
    grey = np.random.default_rng(2).random((2, case.side, case.side), dtype=np.float32)
    films = ((torch.from_numpy(grey)[:, None] - MEAN) / STD).contiguous(memory_format=torch.channels_last)
    built = load_network(spec, bundle.weights(spec))
    with torch.inference_mode():
        expected = rounded(network).to(memory_format=torch.channels_last)(films)  # type: ignore[call-overload]
        found = built.to(memory_format=torch.channels_last)(films)  # type: ignore[call-overload]
    assert found.keys() == expected.keys() == set(spec.outputs)
    assert all(torch.equal(found[name], logits) for name, logits in expected.items())
    assert network_weights(built) == bundle.weights(spec), "exporting it again gives the same file"

    run = TorchNetwork(bundle, spec, "cpu", Precision.FP32)
    answer = run.run(run.to_tensor(grey))
    for name, logits in found.items():
        probability = torch.softmax(logits, dim=1) if name == "classes" else torch.sigmoid(logits)
        assert np.array_equal(answer.probabilities[name], probability.numpy()), f"{name} as the engine returns it"
    assert bundle.graph(spec) is not None, "the export wrote its graph for OpenVINO"
