"""Grad-CAM agrees with a network computed by hand, and explains each film by itself, also from several threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cxrlib.errors import BundleError
from cxrlib.models.architectures.catalog import find_architecture, load_catalog
from cxrlib.models.inference.bundle_inference import BundleInference
from cxrlib.models.inference.gradcam import Explainer
from cxrlib.models.inference.precision import Precision
from cxrlib.models.inference.torch_network import build_networks
from tests.support.tiny_bundles import GRADCAM_LAYER, card_network, tiny_system

pytestmark = pytest.mark.usefixtures("one_thread")


class TwoChannels(nn.Module):
    """Features are the film and its negative; each class is the weighted mean of both."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.after = nn.ReLU(inplace=True)
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.features.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 5.0]]))

    def forward(self, films: Tensor) -> dict[str, Tensor]:
        return {"classes": self.head(self.after(self.features(films)).mean(dim=(2, 3)))}


def explainer(layer: str = "features") -> Explainer:
    return Explainer(TwoChannels().requires_grad_(False).eval(), layer)


def test_the_map_equals_one_computed_by_hand() -> None:
    # The first film is positive: class 0, which is 3 times the mean of the 16 pixels of channel 0. The second: class 1.
    ramp = torch.arange(1.0, 17.0).reshape(1, 4, 4)
    logits, maps = explainer("after")(torch.stack([ramp, -ramp]))
    torch.testing.assert_close(logits["classes"].argmax(dim=1), torch.tensor([0, 1]))
    torch.testing.assert_close(maps[0], ramp[0] * 3 / 16)
    torch.testing.assert_close(maps[1], ramp[0] * 5 / 16)


def test_pixels_that_lower_the_class_logit_are_zero() -> None:
    film = torch.full((1, 1, 4, 4), 2.0)
    film[0, 0, 0, 0] = -1.0
    _, maps = explainer()(film)
    assert maps[0, 0, 0] == 0
    assert (maps[0].flatten()[1:] > 0).all()


def test_the_next_layer_may_change_the_explained_one_in_place() -> None:
    _, maps = explainer("features")(torch.ones(1, 1, 4, 4))
    assert maps.shape == (1, 4, 4)


def test_results_and_weights_have_no_gradients() -> None:
    module = TwoChannels().requires_grad_(False).eval()
    logits, maps = Explainer(module, "features")(torch.ones(2, 1, 4, 4))
    assert not maps.requires_grad
    assert not logits["classes"].requires_grad
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_error_for_an_unknown_layer_names_it() -> None:
    with pytest.raises(BundleError, match="expected a layer of TwoChannels; got 'absent'"):
        explainer("absent")


@pytest.mark.parametrize(
    ("layer", "got"),
    [("unet.classification_head.3", "got 2 dimensions"), ("unet.segmentation_head", "got RuntimeError")],
)
def test_a_layer_that_cannot_explain_a_class_is_rejected_before_any_film(layer: str, got: str) -> None:
    bundle = tiny_system(card_network("all", "lung", "classes"), localisation={"network": "all", "layer": layer})
    with pytest.raises(BundleError, match=got):
        BundleInference(bundle.card, build_networks(bundle, "cpu", Precision.FP32))


def test_threads_that_share_a_network_get_the_maps_of_their_own_films() -> None:
    classifier = card_network("all", "lung", "classes")
    bundle = tiny_system(classifier, localisation={"network": "all", "layer": GRADCAM_LAYER})
    inference = BundleInference(bundle.card, build_networks(bundle, "cpu", Precision.FP32))
    films = [np.random.default_rng(seed).random((64, 64), dtype=np.float32) for seed in range(24)]

    def attribution(film: np.ndarray) -> np.ndarray:
        found = inference.run([film], 1).attribution
        assert found is not None
        return found

    expected = [attribution(film) for film in films]
    with ThreadPoolExecutor(6) as threads:
        for got, one in zip(threads.map(attribution, films), expected, strict=True):
            np.testing.assert_array_equal(got, one)


_EXPLAINABLE = sorted(name for name, entry in load_catalog().items() if entry.localisation_layer is not None)


@pytest.mark.parametrize("name", _EXPLAINABLE)
def test_the_layer_that_the_catalog_names_explains_its_network(name: str) -> None:
    entry = find_architecture(name)
    arguments = dict(entry.variants[0].arguments) if entry.variants else {}
    torch.manual_seed(3)
    module = entry.build(arguments).requires_grad_(False).eval()
    films = torch.randn(2, 1, entry.side, entry.side)
    assert entry.localisation_layer is not None
    logits, maps = Explainer(module, entry.localisation_layer)(films)
    with torch.inference_mode():
        plain = module(films)["classes"]
    torch.testing.assert_close(logits["classes"], plain, atol=1e-4, rtol=1e-4)
    assert maps.shape[0] == 2
    assert min(maps.shape[1:]) > 1
    assert torch.isfinite(maps).all()


def test_the_catalog_names_a_layer_for_the_classifier_of_the_paper_that_localises() -> None:
    assert "hybrid-coatnet" in _EXPLAINABLE
