"""The engine: same bits in any company, one bad film fails alone, out-of-memory halves the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cxrlib.errors import BundleError, FilmError, UsageError
from cxrlib.models import engine as engine_module
from cxrlib.models.engine import Engine, Precision, choose_device, choose_precision
from cxrlib.types import CxrImage, FilmFacts, Prediction
from schemas import Card, Reason, SourceFormat, Windowing
from tests.unit.tiny_bundle import tiny_bundle


def film(seed: int) -> CxrImage:
    pixels = np.random.default_rng(seed).random((64, 64), dtype=np.float32)
    return film_of(pixels)


def film_of(pixels: NDArray[np.float32]) -> CxrImage:
    facts = FilmFacts(source_format=SourceFormat.PNG, rows=64, columns=64)
    return CxrImage(pixels, facts, "0" * 64, Windowing.PERCENTILE, 0.0)


def same(a: Prediction | FilmError, b: Prediction | FilmError) -> bool:
    assert isinstance(a, Prediction)
    assert isinstance(b, Prediction)
    assert a.infection is not None
    assert b.infection is not None
    masks = np.array_equal(a.lung, b.lung) and np.array_equal(a.infection, b.infection)
    return masks and a.classes == b.classes


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(tiny_bundle(), device="cpu", precision=request.param)


def test_outputs_are_probabilities_on_the_cards_grid(engine: Engine) -> None:
    (prediction,) = engine.predict([film(0)])
    assert isinstance(prediction, Prediction)
    assert prediction.lung.shape == (64, 64)
    assert prediction.lung.dtype == np.float32
    assert 0 <= prediction.lung.min() <= prediction.lung.max() <= 1
    assert prediction.classes is not None
    assert sum(prediction.classes.values()) == pytest.approx(1, abs=1e-6)
    assert prediction.precision == engine.precision.value


def test_a_film_has_the_same_bits_in_any_batch_and_order(engine: Engine) -> None:
    films = [film(seed) for seed in range(11)]
    together = engine.predict(films)
    backwards = engine.predict(films[::-1])[::-1]
    alone = [engine.predict([one])[0] for one in films]
    assert all(same(a, b) for a, b in zip(together, backwards, strict=True))
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


def test_batch_sizes_agree_within_the_stated_tolerance() -> None:
    films = [film(seed) for seed in range(8)]
    for precision, tolerance in (("fp32", 1e-5), ("bf16", 0.02)):
        outcomes = [Engine(tiny_bundle(batch), device="cpu", precision=precision).predict(films) for batch in (2, 8)]
        for a, b in zip(*outcomes, strict=True):
            assert isinstance(a, Prediction)
            assert isinstance(b, Prediction)
            assert np.abs(a.lung - b.lung).max() <= tolerance


def test_a_film_that_gives_nan_fails_alone(engine: Engine) -> None:
    films = [film(seed) for seed in range(6)]
    healthy = engine.predict(films)
    films[2] = film_of(np.full((64, 64), np.nan, dtype=np.float32))
    outcomes = engine.predict(films)
    bad = outcomes[2]
    assert isinstance(bad, FilmError)
    assert bad.reason is Reason.MODEL_FAILED
    assert all(same(outcomes[i], healthy[i]) for i in range(6) if i != 2)


class _Poisoned(torch.nn.Module):
    """Raises as long as a marked film is in the batch, as a device fault on one input would."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, films: torch.Tensor) -> dict[str, torch.Tensor]:
        if bool((films[:, 0, 0, 0] == 3.0).any()):
            raise RuntimeError("device-side assert")
        return self.inner(films)  # type: ignore[no-any-return]


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    load = engine_module.load_network
    monkeypatch.setattr(engine_module, "load_network", lambda plan, weights: _Poisoned(load(plan, weights)))


def test_a_poisoned_batch_is_bisected_so_that_only_the_bad_film_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    healthy = Engine(tiny_bundle(), device="cpu", precision="fp32").predict([film(seed) for seed in range(8)])
    poison(monkeypatch)
    films = [film(seed) for seed in range(8)]
    marked = films[5].pixels.copy()
    marked[0, 0] = 2.0  # normalised to 3.0
    films[5] = film_of(marked)
    outcomes = Engine(tiny_bundle(), device="cpu", precision="fp32").predict(films)
    bad = outcomes[5]
    assert isinstance(bad, FilmError)
    assert bad.reason is Reason.MODEL_FAILED
    assert all(same(outcomes[i], healthy[i]) for i in range(8) if i != 5)


def test_out_of_memory_halves_the_batch_and_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tiny_bundle(8), device="cpu", precision="fp32")
    forward = Engine._probabilities
    tried: list[int] = []

    def limited(self: Engine, films: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        tried.append(self.batch)
        if self.batch > 2:
            raise torch.OutOfMemoryError("no room")
        return forward(self, films)

    monkeypatch.setattr(Engine, "_probabilities", limited)
    assert len(engine.predict([film(seed) for seed in range(5)])) == 5
    assert tried == [8, 4, 2, 2, 2]
    engine.predict([film(0)])
    assert tried[-1] == 2


def test_out_of_memory_on_a_single_film_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(tiny_bundle(2), device="cpu", precision="fp32")

    def full(*_: object) -> dict[str, NDArray[np.float32]]:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Engine, "_probabilities", full)
    with pytest.raises(torch.OutOfMemoryError):
        engine.predict([film(0)])


def test_no_films_give_no_predictions(engine: Engine) -> None:
    assert engine.predict([]) == []


def test_a_film_of_another_size_is_a_programming_error(engine: Engine) -> None:
    with pytest.raises(ValueError, match=r"expected films of \(64, 64\) pixels.*met \(32, 64\)"):
        engine.predict([film_of(np.zeros((32, 64), dtype=np.float32))])


def test_weights_that_do_not_fit_are_refused() -> None:
    bundle = tiny_bundle()
    plain = bundle.card.model_dump()
    plain["networks"][0]["arguments"] = {**plain["networks"][0]["arguments"], "decoder_channels": [32, 16, 8, 8, 8]}
    with pytest.raises(BundleError, match="do not fit multitask-unet"):
        Engine(type(bundle)(Card.model_validate(plain), bundle.digest, bundle.files), device="cpu")


def test_a_cascade_reads_the_lung_masked_film() -> None:
    bundle = tiny_bundle()
    plain = bundle.card.model_dump()
    network = plain["networks"][0]
    first = {**network, "name": "lung", "outputs": ("lung",)}
    second = {**network, "name": "rest", "outputs": ("infection", "classes"), "reads": "lung_masked_film"}
    plain["networks"] = (first, second)
    cascade = Engine(type(bundle)(Card.model_validate(plain), "0" * 64, bundle.files), device="cpu", precision="fp32")
    parallel = Engine(bundle, device="cpu", precision="fp32")
    one = film(3)
    (a,), (b,) = cascade.predict([one]), parallel.predict([one])
    assert isinstance(a, Prediction)
    assert isinstance(b, Prediction)
    assert np.array_equal(a.lung, b.lung)
    masked = film_of(np.where(b.lung > 0.5, one.pixels, 0).astype(np.float32))
    (c,) = parallel.predict([masked])
    assert isinstance(c, Prediction)
    assert a.infection is not None
    assert c.infection is not None
    assert np.array_equal(a.infection, c.infection)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu 0"])
def test_a_device_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="device"):
        choose_device(name)


def test_precision_follows_from_what_the_processor_says(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": False})
    assert choose_precision("auto", cpu) is Precision.BF16
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    assert choose_precision("auto", cpu) is Precision.FP32
    assert choose_precision("bf16", cpu) is Precision.BF16
