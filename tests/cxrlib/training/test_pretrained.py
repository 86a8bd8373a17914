"""Encoder weights: colour filters are summed for grey films, and weights that do not fit are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from cxrlib.errors import UsageError
from cxrlib.models.architectures.multitask import MultitaskUnet
from cxrlib.training.pretrained import encoder_weights, load_encoder
from tests.support.tiny_bundles import ARGUMENTS

pytestmark = pytest.mark.usefixtures("one_thread")


def test_colour_filters_are_summed_for_a_grey_film() -> None:
    torch.manual_seed(0)
    colour = smp.encoders.get_encoder(ARGUMENTS["encoder"], weights=None).eval()
    network = MultitaskUnet(**ARGUMENTS).eval()  # type: ignore[arg-type]
    load_encoder(network, colour.state_dict())
    grey = torch.rand(1, 1, 64, 64)
    deepest = network.unet.encoder(grey)[-1]
    assert torch.allclose(deepest, colour(grey.expand(1, 3, 64, 64))[-1], atol=1e-4)


def test_weights_of_the_installed_package_fit_the_default_encoder() -> None:
    network = MultitaskUnet(encoder="tu-tf_efficientnet_lite0")
    load_encoder(network, encoder_weights("efficientnet-lite0"))


def test_weights_of_another_encoder_are_refused() -> None:
    network = MultitaskUnet(**ARGUMENTS)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected weights of the encoder"):
        load_encoder(network, {"stem.weight": torch.zeros(3)})


def test_network_without_an_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match="got none"):
        load_encoder(torch.nn.Linear(2, 2), {})


def test_missing_or_invalid_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected 'efficientnet-lite0' or a safetensors file"):
        encoder_weights(str(tmp_path / "absent.safetensors"))
    (tmp_path / "text.safetensors").write_bytes(b"no weights")
    with pytest.raises(UsageError, match="expected a safetensors file"):
        encoder_weights(str(tmp_path / "text.safetensors"))
