"""Encoder weights: every recipe starts from its published files; other files are rejected."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.models.architectures.multitask import MultitaskUnet
from cxrlib.training.encoders import encoder_options, starting_weights
from cxrlib.training.pretrained import check_encoders, encoder_weights, find_encoders, load_encoder, load_encoders
from cxrlib.training.recipe import NetworkPlan, load_recipe, recipe_names
from tests.support.published_encoders import COUNT, published_state
from tests.support.tiny_bundles import ARGUMENTS
from tests.support.tiny_recipes import recipe_network, tiny_recipe

pytestmark = pytest.mark.usefixtures("one_thread")

PRETRAINED = [
    pytest.param(plan, id=f"{recipe}-{plan.name}")
    for recipe in recipe_names()
    for plan in load_recipe(recipe).networks
    if plan.pretrained is not None
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that writes the stand-in file of an encoder once and returns its path."""
    folder = tmp_path_factory.mktemp("published")

    def path(encoder: str) -> str:
        file = folder / f"{encoder}.safetensors"
        if not file.exists():
            save_file(published_state(encoder), file)
        return str(file)

    return path


def given_weights(plan: NetworkPlan, published: Callable[[str], str]) -> dict[str, str]:
    """Return the value of ``pretrained`` that gives each encoder of a network its published file."""
    if plan.pretrained == "efficientnet-lite0":
        return {}
    names = find_architecture(plan.architecture).encoder_names(plan.arguments)
    return {option: published(name) for option, name in zip(encoder_options(plan), names, strict=True)}


def uninitialised(plan: NetworkPlan) -> nn.Module:
    with torch.device("meta"):
        network = find_architecture(plan.architecture).build(plan.arguments)
    return network.to_empty(device="cpu")


def test_all_recipes_but_hybrid_start_from_pretrained_encoders() -> None:
    random = {name for name in recipe_names() if all(plan.pretrained is None for plan in load_recipe(name).networks)}
    assert random == {"hybrid"}


@pytest.mark.parametrize("plan", PRETRAINED)
def test_a_recipe_starts_from_the_published_files_of_its_encoders(
    plan: NetworkPlan, published: Callable[[str], str]
) -> None:
    network = uninitialised(plan)
    weights = starting_weights(plan, given_weights(plan, published))
    check_encoders(plan, weights)
    load_encoders(network, weights)
    if plan.pretrained == "imagenet":  # a stand-in is 1 everywhere; three colour filters add up to 3
        for encoder in find_encoders(network).values():
            state = {name: tensor for name, tensor in encoder.state_dict().items() if not name.endswith(COUNT)}
            assert {float(value) for tensor in state.values() for value in tensor.unique()} <= {1.0, 3.0}
            assert all(bool((tensor == 1).all()) or tensor.shape[1] == 1 for tensor in state.values())


@pytest.mark.parametrize("plan", PRETRAINED)
def test_a_recipe_rejects_the_file_of_another_encoder(plan: NetworkPlan, published: Callable[[str], str]) -> None:
    names = find_architecture(plan.architecture).encoder_names(plan.arguments)
    wrong = published("mobilenetv2" if "resnet18" in names else "resnet18")
    weights = starting_weights(plan, dict.fromkeys(encoder_options(plan), wrong))
    with pytest.raises(UsageError, match="expected weights of the encoder"):
        check_encoders(plan, weights)
    with pytest.raises(UsageError, match=r"encoder weights '.*\.safetensors': expected weights of the encoder"):
        load_encoders(uninitialised(plan), weights)


def test_exchanged_files_of_a_stack_are_rejected(published: Callable[[str], str]) -> None:
    (plan,) = load_recipe("amalgam").networks
    exchanged = {"lung.mobilenetv2": published("inceptionresnetv2"), "lung.inceptionresnetv2": published("mobilenetv2")}
    with pytest.raises(UsageError, match="expected weights of the encoder MobileNetV2Encoder"):
        check_encoders(plan, starting_weights(plan, exchanged))


def test_weights_for_some_encoders_of_a_stack_only_are_rejected() -> None:
    (plan,) = load_recipe("amalgam").networks
    with pytest.raises(UsageError, match="each of its encoders mobilenetv2, inceptionresnetv2; got mobilenetv2"):
        starting_weights(plan, {"lung.mobilenetv2": "a.safetensors"})


def test_a_recipe_can_name_the_file_of_each_encoder() -> None:
    files = {"mobilenetv2": "a.safetensors", "inceptionresnetv2": "b.safetensors"}
    network = recipe_network(
        architecture="amalgam",
        arguments={},
        outputs=["lung"],
        loss={"lung": {"kind": "binary-cross-entropy"}},
        pretrained=files,
    )
    (plan,) = tiny_recipe(network).networks
    assert starting_weights(plan, {}) == files


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda state: {k: v for k, v in state.items() if k != "layer1.0.conv1.weight"}, id="missing"),
        pytest.param(lambda state: {**state, "layer1.0.conv1.weight": torch.ones(64, 64, 1, 1)}, id="other shape"),
        pytest.param(lambda state: {**state, "layer9.weight": torch.ones(1)}, id="unknown"),
    ],
)
def test_a_file_that_differs_in_one_tensor_is_rejected(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
) -> None:
    encoder = smp.encoders.get_encoder("resnet18", in_channels=1, weights=None)
    with pytest.raises(UsageError, match="expected weights of the encoder ResNetEncoder") as raised:
        load_encoder(encoder, change(published_state("resnet18")))
    assert "layer" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "vgg16_bn", "mobilenet_v2", "inceptionresnetv2"])
def test_the_encoders_of_the_library_load_strictly_and_drop_the_classifier(name: str) -> None:
    """A trial of the library: `load_encoder` relies on it."""
    with torch.device("meta"):
        encoder = smp.encoders.get_encoder(name, weights=None)
    state = published_state({"mobilenet_v2": "mobilenetv2"}.get(name, name))
    encoder.to_empty(device="cpu").load_state_dict(dict(state))
    with pytest.raises(RuntimeError, match="Missing key"):
        encoder.load_state_dict({key: tensor for key, tensor in state.items() if not key.endswith("weight")})


def test_weights_saved_before_batch_norms_counted_batches_are_accepted() -> None:
    encoder = smp.encoders.get_encoder("resnet18", in_channels=1, weights=None)
    load_encoder(encoder, {key: tensor for key, tensor in published_state("resnet18").items() if COUNT not in key})


def test_names_of_today_are_accepted_for_densenet() -> None:
    encoder = smp.encoders.get_encoder("densenet121", in_channels=1, weights=None)
    load_encoder(encoder, torchvision.models.densenet121(weights=None).state_dict())


def test_colour_filters_are_summed_for_a_grey_film() -> None:
    torch.manual_seed(0)
    colour = smp.encoders.get_encoder(ARGUMENTS["encoder"], weights=None).eval()
    network = MultitaskUnet(**ARGUMENTS).eval()  # type: ignore[arg-type]
    load_encoder(network.unet.encoder, colour.state_dict())
    grey = torch.rand(1, 1, 64, 64)
    deepest = network.unet.encoder(grey)[-1]
    assert torch.allclose(deepest, colour(grey.expand(1, 3, 64, 64))[-1], atol=1e-4)


def test_network_without_an_encoder_is_refused() -> None:
    with pytest.raises(UsageError, match="got none"):
        find_encoders(nn.Linear(2, 2))


def test_missing_or_invalid_weights_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected 'efficientnet-lite0' or a safetensors file"):
        encoder_weights(str(tmp_path / "absent.safetensors"))
    (tmp_path / "text.safetensors").write_bytes(b"no weights")
    with pytest.raises(UsageError, match="expected a safetensors file"):
        encoder_weights(str(tmp_path / "text.safetensors"))
