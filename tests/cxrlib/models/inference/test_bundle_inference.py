"""Ensembles, cascades, networks with their own input size, and cards that do not fit their networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray

from cxr_schemas import Card
from cxrlib.errors import BundleError
from cxrlib.measuring.masks import lung_regions
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference.bundle_inference import BundleInference, BundleOutput
from cxrlib.models.inference.precision import Precision
from cxrlib.models.inference.torch_network import TorchNetwork, build_networks, load_network
from cxrlib.reading.resample import resize
from tests.support.tiny_bundles import ARGUMENTS, GRADCAM_LAYER, card_network, tiny_bundle, tiny_system

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH = 4


def films(count: int = 3) -> list[NDArray[np.float32]]:
    return [np.random.default_rng(seed).random((64, 64), dtype=np.float32) for seed in range(count)]


def run(bundle: Bundle, read: list[NDArray[np.float32]] | None = None) -> BundleOutput:
    inference = BundleInference(bundle.card, build_networks(bundle, "cpu", Precision.FP32))
    return inference.run(films() if read is None else read, BATCH)


def alone(*outputs: str, seed: int = 7, read: list[NDArray[np.float32]] | None = None, **rest: Any) -> BundleOutput:
    """Run one network by itself; it also gives the lung that every bundle needs."""
    return run(tiny_system(card_network("alone", *{"lung", *outputs}, seed=seed, **rest)), read)


def test_an_ensemble_gives_the_mean_of_its_probabilities() -> None:
    members = [card_network(f"member-{seed}", "lung", "infection", "classes", seed=seed) for seed in (7, 8, 9)]
    found = run(tiny_system(*members))
    for output in ("lung", "infection", "classes"):
        parts = [getattr(alone("infection", "classes", seed=seed), output) for seed in (7, 8, 9)]
        assert np.abs(parts[0] - parts[1]).max() > 1e-4, "the test needs members that differ"
        np.testing.assert_array_equal(getattr(found, output), np.mean(parts, axis=0, dtype=np.float32))


def test_an_ensemble_of_one_output_leaves_the_others_alone() -> None:
    found = run(tiny_system(card_network("one", "lung", "infection"), card_network("two", "lung", seed=8)))
    np.testing.assert_array_equal(found.infection, alone("infection").infection)
    assert found.classes is None
    assert found.attribution is None


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (128, 128), (32, 96)])
def test_a_network_with_its_own_input_size_gives_masks_on_the_bundles_grid(rows: int, columns: int) -> None:
    own = run(tiny_system(card_network("own", "lung", "classes", input={"rows": rows, "columns": columns})))
    at_that_size = tiny_system(
        card_network("own", "lung", "classes"), input={"rows": rows, "columns": columns, "batch": 4}
    )
    expected = run(at_that_size, [resize(film, rows, columns) for film in films()])
    assert own.lung.shape == (3, 64, 64)
    for found, lung in zip(own.lung, expected.lung, strict=True):
        np.testing.assert_array_equal(found, resize(lung, 64, 64))
    np.testing.assert_array_equal(own.classes, expected.classes)


def test_a_network_normalises_with_its_own_mean_and_std() -> None:
    found = run(tiny_system(card_network("own", "lung", input={"mean": 0.0, "std": 0.5})))
    shifted = [(film + np.float32(0.5)).astype(np.float32) for film in films()]
    np.testing.assert_allclose(found.lung, alone(read=shifted).lung, atol=1e-6)
    assert np.abs(found.lung - alone().lung).max() > 1e-4


def test_networks_with_the_same_input_share_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    to_tensor = TorchNetwork.to_tensor

    def counted(self: TorchNetwork, read: NDArray[np.float32]) -> torch.Tensor:
        made.append(self.spec.name)
        return to_tensor(self, read)

    bundle = tiny_system(
        card_network("a", "lung"),
        card_network("b", "lung", seed=8, input={"rows": 64, "mean": 0.5}),  # equal to the bundle's
        card_network("c", "infection", reads="lung_masked_film"),
        card_network("d", "infection", seed=8, reads="lung_masked_film"),
        card_network("e", "infection", input={"rows": 32}),
    )
    inference = BundleInference(bundle.card, build_networks(bundle, "cpu", Precision.FP32))
    monkeypatch.setattr(TorchNetwork, "to_tensor", counted)
    inference.run(films(), BATCH)
    assert made == ["a", "c", "e"]


def test_a_cascade_reads_the_film_within_the_cleaned_lung_of_the_ensemble() -> None:
    lungs = [card_network("one", "lung"), card_network("two", "lung", seed=8)]
    rest = card_network("rest", "infection", "classes", seed=9, reads="lung_masked_film", input={"rows": 32})
    threshold = float(np.median(run(tiny_system(*lungs)).lung))  # gives the random lungs holes and specks
    bundle = tiny_system(*lungs, rest, postprocess={"lung_threshold": threshold})
    found = run(bundle)
    masked, cleaned = [], 0
    for film, lung in zip(films(), found.lung, strict=True):
        inside = lung_regions(lung, bundle.card.postprocess).mask
        cleaned += int(np.count_nonzero(inside != (lung > np.float32(threshold))))
        masked.append(np.where(inside, film, np.float32(0)))
    assert cleaned > 0, "the test needs masks that cleaning changes"
    assert 0 < np.mean([np.count_nonzero(film) for film in masked]) < 64 * 64
    expected = alone("infection", "classes", seed=9, read=masked, input={"rows": 32})
    np.testing.assert_array_equal(found.infection, expected.infection)
    np.testing.assert_array_equal(found.classes, expected.classes)


def test_the_cascade_reads_a_black_film_if_there_is_no_lung() -> None:
    lung, rest = card_network("lung", "lung"), card_network("rest", "classes", seed=9, reads="lung_masked_film")
    found = run(tiny_system(lung, rest, postprocess={"lung_threshold": 0.999}))
    black = alone("classes", seed=9, read=[np.zeros((64, 64), np.float32)] * 3)
    np.testing.assert_array_equal(found.classes, black.classes)


def test_explaining_a_network_does_not_change_its_classes() -> None:
    networks = card_network("lung", "lung"), card_network("classifier", "classes", seed=9)
    explained = run(tiny_system(*networks, localisation={"network": "classifier", "layer": GRADCAM_LAYER}))
    assert explained.classes is not None
    assert explained.attribution is not None
    np.testing.assert_allclose(explained.classes, run(tiny_system(*networks)).classes, atol=1e-6)
    assert explained.attribution.shape == (3, 2, 2)


def with_network(**changes: Any) -> Bundle:
    bundle = tiny_bundle()
    plain = bundle.card.model_dump()
    plain["networks"][0].update(changes)
    return Bundle(Card.model_validate(plain), bundle.digest, bundle.files)


def test_weights_that_do_not_fit_are_rejected() -> None:
    with pytest.raises(BundleError, match="do not fit multitask-unet"):
        run(with_network(arguments={**ARGUMENTS, "decoder_channels": [32, 16, 8, 8, 8]}))


def test_weights_that_are_not_finite_are_rejected() -> None:
    bundle = tiny_bundle()
    (spec,) = bundle.card.networks
    weights = safetensors.torch.load(bundle.weights(spec))
    next(tensor for tensor in weights.values() if tensor.ndim > 1).flatten()[3] = float("nan")
    with pytest.raises(BundleError, match="expected finite weights; got NaN or infinity in"):
        load_network(spec, safetensors.torch.save(weights))


def test_a_card_that_names_a_missing_output_is_rejected_before_any_film() -> None:
    bundle = with_network(arguments={**ARGUMENTS, "masks": ("lung", "vessels")})
    with pytest.raises(BundleError, match="expected outputs lung, infection, classes; got KeyError: 'infection'"):
        build_networks(bundle, "cpu", Precision.FP32)


def test_a_card_with_another_number_of_classes_is_rejected_before_any_film() -> None:
    bundle = tiny_bundle()
    card = bundle.card.model_copy(update={"classes": bundle.card.classes[:2]})
    with pytest.raises(BundleError, match=r"expected classes of shape \(1, 2\); got \(1, 3\)"):
        build_networks(Bundle(card, bundle.digest, bundle.files), "cpu", Precision.FP32)
