"""The torch engine: batch sizes, a poisoned batch, and memory that runs out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxr_schemas.card import NetworkSpec
from cxrlib.errors import FilmError
from cxrlib.models.bundle import Bundle
from cxrlib.models.inference import torch_network as network_module
from cxrlib.models.inference.bundle_inference import BundleInference, BundleOutput
from cxrlib.models.inference.torch_engine import TorchEngine
from cxrlib.types import Prediction
from tests.cxrlib.models.inference.plain_film import film, film_of, same
from tests.support.tiny_bundles import GRADCAM_LAYER, card_network, tiny_bundle, tiny_system

pytestmark = pytest.mark.usefixtures("one_thread")


def test_batch_sizes_agree_within_the_stated_tolerance() -> None:
    films = [film(seed) for seed in range(8)]
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.02)):
        outcomes = [
            TorchEngine(tiny_bundle(batch), device="cpu", precision=precision).predict(films) for batch in (2, 8)
        ]
        for a, b in zip(*outcomes, strict=True):
            assert isinstance(a, Prediction)
            assert isinstance(b, Prediction)
            assert np.abs(a.lung - b.lung).max() <= tolerance


class _Poisoned(torch.nn.Module):
    """Raises whenever a marked film is in the batch, as a device fault on one input would."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, films: torch.Tensor) -> dict[str, torch.Tensor]:
        if bool((films[:, 0, 0, 0] == 3.0).any()):
            raise RuntimeError("device-side assert")
        return self.inner(films)  # type: ignore[no-any-return]


def poison(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    load = network_module.load_network

    def poisoned(spec: NetworkSpec, weights: bytes) -> torch.nn.Module:
        network = load(spec, weights)
        return _Poisoned(network) if spec.name == name else network

    monkeypatch.setattr(network_module, "load_network", poisoned)


def parallel(layer: str) -> Bundle:
    """Return a bundle whose second network is explained; both read the film."""
    return tiny_system(
        card_network("tiny", "lung", "infection"),
        card_network("classifier", "classes", seed=9),
        localisation={"network": "classifier", "layer": layer},
    )


@pytest.mark.parametrize("bad", ["tiny", "classifier"])
def test_a_poisoned_batch_is_bisected_so_that_only_the_bad_film_fails(
    monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    poison(monkeypatch, bad)
    engine = TorchEngine(
        parallel(f"inner.{GRADCAM_LAYER}" if bad == "classifier" else GRADCAM_LAYER), device="cpu", precision="fp32"
    )
    films = [film(seed) for seed in range(8)]
    healthy = engine.predict(films)
    marked = films[5].pixels.copy()
    marked[0, 0] = 2.0  # normalised to 3.0
    films[5] = film_of(marked)
    outcomes = engine.predict(films)
    broken = outcomes[5]
    assert isinstance(broken, FilmError)
    assert broken.reason is Reason.MODEL_FAILED
    assert all(same(outcomes[i], healthy[i]) for i in range(8) if i != 5)


def test_out_of_memory_halves_the_batch_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(tiny_bundle(8), device="cpu", precision="fp32")
    forward = BundleInference.run
    batches: list[int] = []

    def limited(self: BundleInference, films: Sequence[NDArray[np.float32]], batch: int) -> BundleOutput:
        batches.append(batch)
        if batch > 2:
            raise torch.OutOfMemoryError("no room")
        return forward(self, films, batch)

    monkeypatch.setattr(BundleInference, "run", limited)
    assert len(engine.predict([film(seed) for seed in range(5)])) == 5
    assert batches == [8, 4, 4, 2, 2, 2], "both batches of 4 are tried, because they run in parallel"
    engine.predict([film(0)])
    assert batches[-1] == 2


def test_out_of_memory_while_explaining_halves_the_batch_for_all_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(seed) for seed in range(3)]
    expected = TorchEngine(tiny_system(*_HYBRID, batch=2, localisation=_EXPLAINED), device="cpu", precision="fp32")
    engine = TorchEngine(tiny_system(*_HYBRID, batch=8, localisation=_EXPLAINED), device="cpu", precision="fp32")
    gradient = torch.autograd.grad

    def limited(outputs: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        if len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("no room")
        return gradient(outputs, inputs)

    monkeypatch.setattr(torch.autograd, "grad", limited)
    outcomes = engine.predict(films)
    assert engine.batch == 2
    assert all(same(a, b) for a, b in zip(outcomes, expected.predict(films), strict=True))


_HYBRID = (
    card_network("lung", "lung", "infection"),
    card_network("classifier", "classes", seed=9, reads="lung_masked_film"),
)
_EXPLAINED = {"network": "classifier", "layer": GRADCAM_LAYER}


def test_out_of_memory_on_a_single_film_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TorchEngine(tiny_bundle(2), device="cpu", precision="fp32")

    def full(*_: object) -> BundleOutput:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(BundleInference, "run", full)
    with pytest.raises(torch.OutOfMemoryError):
        engine.predict([film(0)])
