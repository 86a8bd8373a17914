"""Prediction: films go to the engine, some at a time; rejects pass unchanged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that, equal_to

from cxr_pipelines.beam.transforms import Predict, predict
from cxr_pipelines.elements import Inferred, ReadFilm
from cxr_pipelines.engine_factory import BundleEngineFactory
from cxr_schemas import Reason, SourceFormat, Windowing
from cxrlib.errors import BundleError, FilmError, RunError
from cxrlib.runs import software_versions
from cxrlib.runs.plan import Chunk
from cxrlib.types import CxrImage, FilmFacts, ImageRef, Prediction
from tests.support.fakes import SIDE, FakeEngineFactory, fake_bundle, fake_settings

CHUNK = Chunk("c", 0, 4)
REJECT = FilmError(Reason.EMPTY, expected="bytes", got="none")


def film(name: str, corner: float = 0.0) -> ReadFilm:
    pixels = np.full((SIDE, SIDE), corner, np.float32)
    facts = FilmFacts(SourceFormat.PNG, 80, 80)
    return ReadFilm(CHUNK, ImageRef(name, "v"), CxrImage(pixels, facts, name, Windowing.PERCENTILE, 0.0))


def test_rejects_keep_their_place_and_films_get_their_own_prediction() -> None:
    batch = [film("a"), ReadFilm(CHUNK, ImageRef("b", "v"), REJECT), film("c", 1.0), film("d", 0.7)]
    done = predict(FakeEngineFactory()(), batch)
    assert [out.ref.uri for out in done] == ["a", "b", "c", "d"]
    assert isinstance(done[0].outcome, Inferred)
    assert done[1].outcome is REJECT
    assert isinstance(done[2].outcome, FilmError)
    assert done[2].outcome.reason is Reason.MODEL_FAILED
    assert isinstance(done[3].outcome, Inferred)
    assert float(done[3].outcome.prediction.lung.max()) < 0.5
    assert done[3].outcome.image.content_digest == "d"


def test_batch_of_rejects_does_not_call_the_engine() -> None:
    class NoEngine:
        def predict(self, images: object) -> list[object]:
            raise AssertionError("the engine was called")

    batch = [ReadFilm(CHUNK, ImageRef("b", "v"), REJECT)] * 3
    assert [out.outcome for out in predict(NoEngine(), batch)] == [REJECT] * 3  # type: ignore[arg-type]


class _Counting:
    """An engine that records how many films it gets at a time, in all of its instances."""

    made: ClassVar[int] = 0
    calls: ClassVar[list[int]] = []

    def __init__(self) -> None:
        type(self).made += 1
        self._engine = FakeEngineFactory()()

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        self.calls.append(len(images))
        return self._engine.predict(images)


def test_films_reach_one_engine_in_batches_of_the_given_size() -> None:
    films = [film(str(number)) for number in range(20)]
    with beam.Pipeline(runner="FnApiRunner") as pipeline:
        done = pipeline | beam.Create([films], reshuffle=False) | beam.FlatMap(list) | Predict(_Counting, 8)
        assert_that(done | beam.Map(lambda out: out.ref.uri), equal_to([str(number) for number in range(20)]))
    assert _Counting.calls == [8, 8, 4]
    assert _Counting.made == 1


def test_bundle_that_changed_since_the_plan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_pipelines.engine_factory.load_bundle", lambda uri: fake_bundle(7))
    with pytest.raises(BundleError, match="as planned; got"):
        BundleEngineFactory(fake_settings(), "0" * 64)()


def test_worker_with_other_library_versions_is_refused() -> None:
    planned = {**software_versions.environment(), "torch": "0.1"}
    with pytest.raises(RunError, match=rf"torch 0\.1 here {re.escape(software_versions.installed()['torch'])}$"):
        BundleEngineFactory(fake_settings(), "0" * 64, planned)()
