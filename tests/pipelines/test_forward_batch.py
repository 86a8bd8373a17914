"""A run has one forward batch: its plan fixes it, its workers and a resumed job use it, its rows state it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cxr_pipelines.score as score_module
from cxr_pipelines.engine_factory import BundleEngineFactory
from cxr_pipelines.runner_choice import RunnerChoice
from cxr_pipelines.score import score
from cxrlib.errors import StalePlanError
from cxrlib.models.inference import forward_batch
from cxrlib.results.objects import ResultsRoot
from cxrlib.runs import plan
from cxrlib.runs.plan import PlanHeader, read_plan_summary
from cxrlib.runs.run import read_manifest
from cxrlib.settings import RunSettings, Settings
from tests.support.fakes import FakeEngine, fake_bundle, fake_settings
from tests.support.small_archives import score_films, write_films

CARD = 4  # films per forward pass on the card of the fake bundle
SMALL_GPU = 16 * 2**30
LARGE_GPU = 80 * 2**30


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int | None]]:
    """Replace the engine of a bundle by the fake one, and collect the forward batch that each was made with."""
    batches: list[int | None] = []

    def make(self: BundleEngineFactory) -> FakeEngine:
        batches.append(self.forward_batch)
        return FakeEngine()

    monkeypatch.setattr(BundleEngineFactory, "__call__", make)
    yield batches


def with_gpus(monkeypatch: pytest.MonkeyPatch, *memories: int) -> None:
    monkeypatch.setattr(forward_batch, "cuda_memories", lambda: list(memories))


def run(archive: Path, out: Path, settings: Settings, **options: Any) -> None:
    score([str(archive)], str(out), settings, run_id="r", bundle=fake_bundle(), **options)


def planned(out: Path) -> int | None:
    stored = read_plan_summary(ResultsRoot.at(str(out)), "r")
    assert stored is not None
    return stored[1].forward_batch


def test_plan_workers_and_manifest_have_the_same_forward_batch(
    tmp_path: Path, made: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_films(tmp_path / "in", good=3)
    with_gpus(monkeypatch)
    for name, settings, expected in (
        ("cpu", fake_settings(), CARD),
        ("asked", fake_settings(forward_batch=9), 9),
    ):
        run(tmp_path / "in", tmp_path / name, settings)
        manifest = read_manifest(ResultsRoot.at(str(tmp_path / name)), "r")
        assert manifest is not None
        assert (made[-1], planned(tmp_path / name), manifest.forward_batch) == (expected,) * 3
    with_gpus(monkeypatch, LARGE_GPU)
    run(tmp_path / "in", tmp_path / "gpu", fake_settings())
    assert made[-1] == planned(tmp_path / "gpu")
    assert (made[-1] or 0) > CARD


def test_forward_batch_is_no_part_of_the_config_digest() -> None:
    assert fake_settings(forward_batch=9).digest() == fake_settings().digest()


def interrupt(archive: Path, out: Path) -> None:
    """Plan a run, and stop before anything is scored."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(score_module, "_score", _interrupted)
        with pytest.raises(InterruptedError):
            run(archive, out, fake_settings())


def _interrupted(*_: object, **__: object) -> None:
    raise InterruptedError


@pytest.mark.parametrize("gpus", [(SMALL_GPU,), ()])
def test_a_resumed_run_keeps_its_forward_batch_on_another_machine(
    tmp_path: Path, made: list[int | None], monkeypatch: pytest.MonkeyPatch, gpus: tuple[int, ...]
) -> None:
    write_films(tmp_path / "in", good=3)
    with_gpus(monkeypatch, LARGE_GPU)
    interrupt(tmp_path / "in", tmp_path / "out")
    first = planned(tmp_path / "out")
    assert first is not None
    assert first > CARD
    with_gpus(monkeypatch, *gpus)
    with pytest.raises(StalePlanError, match=f"with forward batch {first}; got 9"):
        run(tmp_path / "in", tmp_path / "out", fake_settings(forward_batch=9), resume=True)
    run(tmp_path / "in", tmp_path / "out", fake_settings(), resume=True)
    assert made == [first]
    run(tmp_path / "in", tmp_path / "out", fake_settings(forward_batch=first), resume=True)


def test_a_plan_of_an_older_version_is_resumed_with_the_number_of_the_card(
    tmp_path: Path, made: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_films(tmp_path / "in", good=3)

    def older(header: PlanHeader) -> dict[str, Any]:
        return {name: value for name, value in asdict(header).items() if name != "forward_batch"}

    with monkeypatch.context() as patch:
        patch.setattr(plan, "asdict", older)
        interrupt(tmp_path / "in", tmp_path / "out")
    assert planned(tmp_path / "out") is None
    with_gpus(monkeypatch, LARGE_GPU)
    run(tmp_path / "in", tmp_path / "out", fake_settings(), resume=True)
    assert made == [CARD]


def test_rows_state_the_forward_batch(tmp_path: Path) -> None:
    score_films(write_films(tmp_path / "in", good=3, bad=()), tmp_path / "out")
    assert set(pd.read_parquet(tmp_path / "out/scores")["forward_batch"]) == {CARD}


@pytest.mark.parametrize(
    ("runner", "forward", "per_call", "ahead"),
    [("local", 16, 32, 256), ("local:2", 16, 16, 128), ("flink", 16, 32, 256), ("local", 128, 512, 1024)],
)
def test_a_call_of_the_networks_holds_several_large_forward_passes(
    monkeypatch: pytest.MonkeyPatch, runner: str, forward: int, per_call: int, ahead: int
) -> None:
    monkeypatch.setattr(score_module, "cores", lambda: 2)
    fitted = score_module._fitted(Settings(), RunnerChoice.parse(runner), forward).run
    assert (fitted.films_at_a_time, fitted.films_ahead) == (per_call, ahead)


def test_numbers_that_were_asked_for_stay() -> None:
    settings = Settings(run=RunSettings(batch_size=5, prefetch=6, decode_workers=1))
    assert score_module._fitted(settings, RunnerChoice(), 256) == settings
