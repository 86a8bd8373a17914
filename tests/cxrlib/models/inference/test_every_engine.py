"""What every engine promises: a film's bits do not depend on its batch, and one bad film fails alone."""

from __future__ import annotations

import numpy as np
import pytest

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.models.inference.batched_engine import BatchedEngine
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.types import Prediction
from tests.cxrlib.models.inference.plain_film import film, film_of, same
from tests.support.tiny_bundles import bundle_with_all_features, tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", params=["torch", "openvino"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["one-fp32", "one-bf16", "all-fp32", "all-bf16"])
def engine(request: pytest.FixtureRequest, library: str) -> BatchedEngine:
    kind, precision = request.param.split("-")
    bundle = tiny_bundle() if kind == "one" else bundle_with_all_features()
    return load_engine(bundle, engine=library, device="cpu", precision=precision)


def test_outputs_are_probabilities_on_the_grid_of_the_card(engine: BatchedEngine) -> None:
    (prediction,) = engine.predict([film(0)])
    assert isinstance(prediction, Prediction)
    assert prediction.lung.shape == (64, 64)
    assert prediction.lung.dtype == np.float32
    assert 0 <= prediction.lung.min() <= prediction.lung.max() <= 1
    assert prediction.classes is not None
    assert sum(prediction.classes.values()) == pytest.approx(1, abs=1e-6)
    assert prediction.precision == engine.precision.value


def test_a_film_has_the_same_bits_in_any_batch_and_order(engine: BatchedEngine) -> None:
    films = [film(seed) for seed in range(11)]
    together = engine.predict(films)
    backwards = engine.predict(films[::-1])[::-1]
    alone = [engine.predict([one])[0] for one in films]
    assert all(same(a, b) for a, b in zip(together, backwards, strict=True))
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


def test_a_film_with_nan_fails_alone(engine: BatchedEngine) -> None:
    films = [film(seed) for seed in range(6)]
    healthy = engine.predict(films)
    films[2] = film_of(np.full((64, 64), np.nan, dtype=np.float32))
    outcomes = engine.predict(films)
    bad = outcomes[2]
    assert isinstance(bad, FilmError)
    assert bad.reason is Reason.MODEL_FAILED
    assert all(same(outcomes[i], healthy[i]) for i in range(6) if i != 2)


def test_no_films_give_no_predictions(engine: BatchedEngine) -> None:
    assert engine.predict([]) == []


def test_a_film_of_another_size_raises_a_value_error(engine: BatchedEngine) -> None:
    with pytest.raises(ValueError, match=r"expected films of \(64, 64\) pixels.*got \(32, 64\)"):
        engine.predict([film_of(np.zeros((32, 64), dtype=np.float32))])
