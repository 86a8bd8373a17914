"""A bundle's networks as one: ensembles, cascades, inputs of their own, and cards that do not fit their networks."""

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
from cxrlib.models.inference.hardware import Precision
from cxrlib.models.inference.network import BundleNetwork, load_network
from cxrlib.models.inference.system import Found, System
from cxrlib.reading.resample import resize
from tests.support.tiny_bundles import ARGUMENTS, GRADCAM_LAYER, card_network, tiny_bundle, tiny_system

pytestmark = pytest.mark.usefixtures("one_thread")

BATCH = 4
_CPU = torch.device("cpu")


def films(count: int = 3) -> list[NDArray[np.float32]]:
    return [np.random.default_rng(seed).random((64, 64), dtype=np.float32) for seed in range(count)]


def run(bundle: Bundle, read: list[NDArray[np.float32]] | None = None) -> Found:
    return System(bundle, _CPU, Precision.FP32).run(films() if read is None else read, BATCH)


def alone(*outputs: str, seed: int = 7, read: list[NDArray[np.float32]] | None = None, **rest: Any) -> Found:
    """Run one network by itself; the lung that every bundle needs is its own."""
    return run(tiny_system(card_network("alone", *{"lung", *outputs}, seed=seed, **rest)), read)


def test_an_ensemble_gives_the_mean_of_its_probabilities() -> None:
    members = [card_network(f"member-{seed}", "lung", "infection", "classes", seed=seed) for seed in (7, 8, 9)]
    found = run(tiny_system(*members))
    for output in ("lung", "infection", "classes"):
        parts = [getattr(alone("infection", "classes", seed=seed), output) for seed in (7, 8, 9)]
        assert np.abs(parts[0] - parts[1]).max() > 1e-4, "the members must differ for their mean to say anything"
        np.testing.assert_array_equal(getattr(found, output), np.mean(parts, axis=0, dtype=np.float32))


def test_an_ensemble_of_one_output_leaves_the_others_alone() -> None:
    found = run(tiny_system(card_network("one", "lung", "infection"), card_network("two", "lung", seed=8)))
    np.testing.assert_array_equal(found.infection, alone("infection").infection)
    assert found.classes is None
    assert found.attribution is None


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (128, 128), (32, 96)])
def test_a_network_with_a_grid_of_its_own_reads_the_film_there_and_gives_masks_on_the_bundles(
    rows: int, columns: int
) -> None:
    own = run(tiny_system(card_network("own", "lung", "classes", input={"rows": rows, "columns": columns})))
    there = tiny_system(card_network("own", "lung", "classes"), input={"rows": rows, "columns": columns, "batch": 4})
    expected = run(there, [resize(film, rows, columns) for film in films()])
    assert own.lung.shape == (3, 64, 64)
    for found, lung in zip(own.lung, expected.lung, strict=True):
        np.testing.assert_array_equal(found, resize(lung, 64, 64))
    np.testing.assert_array_equal(own.classes, expected.classes)


def test_a_network_normalises_as_its_own_input_says() -> None:
    found = run(tiny_system(card_network("own", "lung", input={"mean": 0.0, "std": 0.5})))
    shifted = [(film + np.float32(0.5)).astype(np.float32) for film in films()]
    np.testing.assert_allclose(found.lung, alone(read=shifted).lung, atol=1e-6)
    assert np.abs(found.lung - alone().lung).max() > 1e-4


def test_networks_that_read_the_same_share_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    tensor = BundleNetwork.tensor

    def counted(self: BundleNetwork, read: NDArray[np.float32]) -> torch.Tensor:
        made.append(self.plan.name)
        return tensor(self, read)

    system = System(
        tiny_system(
            card_network("a", "lung"),
            card_network("b", "lung", seed=8, input={"rows": 64, "mean": 0.5}),  # nothing that is not the bundle's
            card_network("c", "infection", reads="lung_masked_film"),
            card_network("d", "infection", seed=8, reads="lung_masked_film"),
            card_network("e", "infection", input={"rows": 32}),
        ),
        _CPU,
        Precision.FP32,
    )
    monkeypatch.setattr(BundleNetwork, "tensor", counted)
    system.run(films(), BATCH)
    assert made == ["a", "c", "e"]


def test_a_cascade_reads_the_film_within_the_cleaned_lung_of_the_ensemble() -> None:
    lungs = [card_network("one", "lung"), card_network("two", "lung", seed=8)]
    rest = card_network("rest", "infection", "classes", seed=9, reads="lung_masked_film", input={"rows": 32})
    threshold = float(np.median(run(tiny_system(*lungs)).lung))  # so that the random lungs have holes and specks
    bundle = tiny_system(*lungs, rest, postprocess={"lung_threshold": threshold})
    found = run(bundle)
    masked, cleaned = [], 0
    for film, lung in zip(films(), found.lung, strict=True):
        inside = lung_regions(lung, bundle.card.postprocess).mask
        cleaned += int(np.count_nonzero(inside != (lung > np.float32(threshold))))
        masked.append(np.where(inside, film, np.float32(0)))
    assert cleaned > 0, "the masks must need cleaning for the test to tell"
    assert 0 < np.mean([np.count_nonzero(film) for film in masked]) < 64 * 64
    expected = alone("infection", "classes", seed=9, read=masked, input={"rows": 32})
    np.testing.assert_array_equal(found.infection, expected.infection)
    np.testing.assert_array_equal(found.classes, expected.classes)


def test_a_film_without_lung_is_black_to_the_cascade() -> None:
    lung, rest = card_network("lung", "lung"), card_network("rest", "classes", seed=9, reads="lung_masked_film")
    found = run(tiny_system(lung, rest, postprocess={"lung_threshold": 0.999}))
    black = alone("classes", seed=9, read=[np.zeros((64, 64), np.float32)] * 3)
    np.testing.assert_array_equal(found.classes, black.classes)


def test_the_explained_network_gives_the_classes_that_it_gives_unexplained() -> None:
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


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BundleError, match="do not fit multitask-unet"):
        run(with_network(arguments={**ARGUMENTS, "decoder_channels": [32, 16, 8, 8, 8]}))


def test_weights_that_are_no_numbers_are_refused() -> None:
    bundle = tiny_bundle()
    (plan,) = bundle.card.networks
    weights = safetensors.torch.load(bundle.weights(plan))
    next(tensor for tensor in weights.values() if tensor.ndim > 1).flatten()[3] = float("nan")
    with pytest.raises(BundleError, match="expected finite weights; got others in"):
        load_network(plan, safetensors.torch.save(weights))


def test_a_card_that_names_an_output_its_network_has_not_is_refused_before_any_film() -> None:
    bundle = with_network(arguments={**ARGUMENTS, "masks": ("lung", "vessels")})
    with pytest.raises(BundleError, match="expected outputs lung, infection, classes; got KeyError: 'infection'"):
        System(bundle, _CPU, Precision.FP32)


def test_a_card_with_other_classes_than_its_network_is_refused_before_any_film() -> None:
    bundle = tiny_bundle()
    card = bundle.card.model_copy(update={"classes": bundle.card.classes[:2]})
    with pytest.raises(BundleError, match=r"expected classes of shape \(1, 2\); got \(1, 3\)"):
        System(Bundle(card, bundle.digest, bundle.files), _CPU, Precision.FP32)
