"""The engine: a film's bits do not depend on its batch, one bad film fails alone, out-of-memory halves the batch."""

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


def bundle_with_all_features() -> Bundle:
    """Return a bundle with an ensemble, networks with their own input, a cascade and a localisation."""
    return tiny_system(
        card_network("lung", "lung", "infection"),
        card_network("lung-2", "lung", seed=8, input={"rows": 32, "columns": 96}),
        card_network("classifier", "classes", seed=9, reads="lung_masked_film", input={"mean": 0.2, "std": 0.3}),
        localisation={"network": "classifier", "layer": GRADCAM_LAYER},
        postprocess={"lung_threshold": 0.3},
    )


@pytest.fixture(scope="module", params=["one-fp32", "one-bf16", "all-fp32", "all-bf16"])
def engine(request: pytest.FixtureRequest) -> TorchEngine:
    kind, precision = request.param.split("-")
    return TorchEngine(
        tiny_bundle() if kind == "one" else bundle_with_all_features(), device="cpu", precision=precision
    )


def test_outputs_are_probabilities_on_the_grid_of_the_card(engine: TorchEngine) -> None:
    (prediction,) = engine.predict([film(0)])
    assert isinstance(prediction, Prediction)
    assert prediction.lung.shape == (64, 64)
    assert prediction.lung.dtype == np.float32
    assert 0 <= prediction.lung.min() <= prediction.lung.max() <= 1
    assert prediction.classes is not None
    assert sum(prediction.classes.values()) == pytest.approx(1, abs=1e-6)
    assert prediction.precision == engine.precision.value


def test_a_film_has_the_same_bits_in_any_batch_and_order(engine: TorchEngine) -> None:
    films = [film(seed) for seed in range(11)]
    together = engine.predict(films)
    backwards = engine.predict(films[::-1])[::-1]
    alone = [engine.predict([one])[0] for one in films]
    assert all(same(a, b) for a, b in zip(together, backwards, strict=True))
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


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


def test_a_film_with_nan_fails_alone(engine: TorchEngine) -> None:
    films = [film(seed) for seed in range(6)]
    healthy = engine.predict(films)
    films[2] = film_of(np.full((64, 64), np.nan, dtype=np.float32))
    outcomes = engine.predict(films)
    bad = outcomes[2]
    assert isinstance(bad, FilmError)
    assert bad.reason is Reason.MODEL_FAILED
    assert all(same(outcomes[i], healthy[i]) for i in range(6) if i != 2)


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


def test_no_films_give_no_predictions(engine: TorchEngine) -> None:
    assert engine.predict([]) == []


def test_a_film_of_another_size_raises_a_value_error(engine: TorchEngine) -> None:
    with pytest.raises(ValueError, match=r"expected films of \(64, 64\) pixels.*got \(32, 64\)"):
        engine.predict([film_of(np.zeros((32, 64), dtype=np.float32))])
