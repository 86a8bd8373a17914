"""Every architecture computes the same logits, on seeded weights and films, as when it was committed.

``networks.json`` holds logits computed in float64; kernels, processors and threads do not change the stored digits. The
tests run the networks as the engines do, in float32: with torch (channels last) and with OpenVINO. So logits differ by
the rounding of float32. Over all cases and outputs, the largest difference measured is 9e-5 of the logits' standard
deviation. The tolerance is six times that. A test below makes small mistakes, which exceed the tolerance ten times.

After an intended change of an architecture, run ``python -m tests.golden.test_networks`` to write the file again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.models.inference.openvino_convert import convert
from cxrlib.models.inference.openvino_library import core
from tests.support.networks import MORE_CASES, ONE_PER_ARCHITECTURE, Case, set_weights

pytestmark = pytest.mark.usefixtures("one_thread")

GOLDEN = Path(__file__).with_name("networks.json")
#: Largest difference from float64, as a share of the standard deviation of the logits.
TOLERANCE = 5e-4
#: Stored of each mask: the means of blocks of 16 x 16 pixels, and every 509th pixel.
BLOCK = 16
STRIDE = 509


def build_with_weights(case: Case) -> nn.Module:
    network = case.build()
    set_weights(network)
    return network


def run(network: nn.Module, case: Case, dtype: torch.dtype) -> dict[str, NDArray[np.float64]]:
    """Return a sample of the logits of each output: block means and single pixels of masks, all class logits."""
    films = torch.from_numpy(case.films()).to(dtype)
    network = network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.inference_mode():
        logits = {name: tensor.double() for name, tensor in network(films).items()}
    return {name: sample(tensor).numpy() for name, tensor in sorted(logits.items())}


def sample(logits: torch.Tensor) -> torch.Tensor:
    if logits.ndim == 2:
        return logits.flatten()
    blocks = functional.avg_pool2d(logits, BLOCK)
    return torch.cat([blocks.flatten(), logits.flatten()[::STRIDE]])


def difference(found: NDArray[np.float64], golden: NDArray[np.float64]) -> float:
    """Return the largest difference as a share of the golden values' standard deviation."""
    return float(np.abs(found - golden).max() / golden.std())


def golden_logits() -> dict[str, dict[str, NDArray[np.float64]]]:
    cases = json.loads(GOLDEN.read_text())
    return {case: {name: np.array(values) for name, values in outputs.items()} for case, outputs in cases.items()}


@pytest.mark.parametrize("case", (*ONE_PER_ARCHITECTURE, *MORE_CASES), ids=str)
def test_a_network_gives_its_golden_logits(case: Case) -> None:
    golden = golden_logits()[str(case)]
    found = run(build_with_weights(case), case, torch.float32)
    assert found.keys() == golden.keys()
    for name, values in golden.items():
        assert found[name].shape == values.shape
        assert difference(found[name], values) < TOLERANCE, name


@pytest.mark.parametrize("case", (*ONE_PER_ARCHITECTURE, *MORE_CASES), ids=str)
def test_openvino_gives_the_golden_logits(case: Case) -> None:
    network = build_with_weights(case)
    weights = safetensors.torch.save({name: tensor.contiguous() for name, tensor in network.state_dict().items()})
    model = convert(network, case.side, case.side, weights).model(weights)
    films = case.films()
    model.reshape(list(films.shape))
    logits = core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([films])
    found = {output.any_name: sample(torch.from_numpy(values)).double().numpy() for output, values in logits.items()}
    golden = golden_logits()[str(case)]
    assert found.keys() == golden.keys()
    for name, values in golden.items():
        assert difference(found[name], values) < TOLERANCE, name


def test_the_golden_file_has_every_case_and_no_other() -> None:
    golden = golden_logits()
    assert golden.keys() == {str(case) for case in (*ONE_PER_ARCHITECTURE, *MORE_CASES)}
    for case in ONE_PER_ARCHITECTURE:
        assert set(golden[str(case)]) <= set(find_architecture(case.architecture).outputs)


def _norms_of_another_library(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3  # the default of Keras; torch has 1e-5


def _one_filter_of_one_layer(network: nn.Module) -> None:
    kernel = next(parameter for name, parameter in network.named_parameters() if "layer3" in name)
    kernel.data[0] *= 1.1


def _one_activation(network: nn.Module) -> None:
    network.net.decoder.blocks[-1].conv2[2] = nn.LeakyReLU(0.01)  # type: ignore[index, union-attr]


@pytest.mark.parametrize("mistake", [_norms_of_another_library, _one_filter_of_one_layer, _one_activation])
def test_a_small_mistake_is_noticed(mistake: Callable[[nn.Module], None]) -> None:
    case = next(case for case in ONE_PER_ARCHITECTURE if case.architecture == "qu-ex-unet")
    network = build_with_weights(case)
    mistake(network)
    assert difference(run(network, case, torch.float32)["lung"], golden_logits()[str(case)]["lung"]) > 10 * TOLERANCE


def write() -> None:
    torch.set_num_threads(1)
    golden = {
        str(case): {
            name: [float(f"{value:.7g}") for value in values]
            for name, values in run(build_with_weights(case), case, torch.float64).items()
        }
        for case in (*ONE_PER_ARCHITECTURE, *MORE_CASES)
    }
    lines = ",\n".join(f" {json.dumps(case)}: {json.dumps(outputs)}" for case, outputs in golden.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    write()
