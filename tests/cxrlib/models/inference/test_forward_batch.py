"""The films per forward pass depend on the setting, on the device of the planning machine, and on the network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch

from cxr_schemas import Card
from cxrlib.models.architectures.catalog import load_catalog
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference import forward_batch
from cxrlib.models.inference.forward_batch import COLUMNS_MB, FILM_MB, FORWARD_BATCHES, batch_for, choose_forward_batch
from cxrlib.settings import RunSettings
from tests.support.live_memory import peak_film_mb

GIB = 2**30
_SECOND = {"name": "second", "architecture": "qu-ex-unetplusplus", "weights": "second.safetensors"}
DEFAULT = load_bundle("default").card
#: What `torch.cuda` reports for a device that is sold with the memory of each row.
REPORTED_GIB = {4: 3.8, 8: 7.8, 16: 14.6, 24: 22.0, 40: 39.4, 80: 79.1, 140: 139.7}


def network(architecture: str, side: int = 256) -> Card:
    card = DEFAULT.model_dump()
    card["input"] |= {"rows": side, "columns": side}
    card["networks"] = [{**card["networks"][0], "architecture": architecture}]
    return Card.model_validate(card)


def with_gpus(monkeypatch: pytest.MonkeyPatch, *gib: float) -> None:
    monkeypatch.setattr(forward_batch, "cuda_memories", lambda: [int(each * GIB) for each in gib])


def test_a_cpu_uses_the_number_of_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch)
    assert choose_forward_batch(RunSettings(), DEFAULT) == DEFAULT.input.batch == 16
    with_gpus(monkeypatch, 80)
    assert choose_forward_batch(RunSettings(device="cpu"), DEFAULT) == 16
    assert choose_forward_batch(RunSettings(engine="openvino"), DEFAULT) == 16


def test_an_explicit_number_counts_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus in ((), (80,)):
        with_gpus(monkeypatch, *gpus)
        assert choose_forward_batch(RunSettings(forward_batch=5), DEFAULT) == 5


@pytest.mark.parametrize(
    ("device", "gpus", "expected"),
    [
        ("auto", (80, 8), 256),
        ("cuda", (80, 8), 256),
        ("cuda:0", (80, 8), 256),
        ("cuda:1", (80, 8), 32),
        ("cuda:all", (80, 8), 32),
        ("cuda:all", (80, 80), 256),
        ("cuda:7", (80, 80), 16),
        ("cuda", (), 16),
        ("cuda:all", (), 16),
    ],
)
def test_on_cuda_the_memory_of_the_devices_that_run_decides(
    monkeypatch: pytest.MonkeyPatch, device: str, gpus: Sequence[float], expected: int
) -> None:
    """A machine that plans for GPUs that it does not have uses the smallest row of the table."""
    with_gpus(monkeypatch, *gpus)
    card = DEFAULT.model_copy(update={"input": DEFAULT.input.model_copy(update={"batch": 7})})
    assert choose_forward_batch(RunSettings(device=device), card) == expected


def test_workers_that_share_a_gpu_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 80)
    batches = [choose_forward_batch(RunSettings(), DEFAULT, workers_per_gpu=workers) for workers in (1, 2, 4, 8, 16)]
    assert batches == [256, 128, 64, 32, 16]
    assert choose_forward_batch(RunSettings(device="cpu"), DEFAULT, workers_per_gpu=8) == 16


@pytest.mark.parametrize("row", FORWARD_BATCHES)
def test_a_device_belongs_to_the_row_it_is_sold_with(row: int) -> None:
    assert batch_for(int(REPORTED_GIB[row] * GIB), DEFAULT) == FORWARD_BATCHES[row][0]


def test_a_device_between_two_rows_belongs_to_the_smaller() -> None:
    assert batch_for(12 * GIB, DEFAULT) == batch_for(8 * GIB, DEFAULT) == FORWARD_BATCHES[8][0]
    assert batch_for(1 * GIB, DEFAULT) == FORWARD_BATCHES[4][0]


def test_larger_networks_and_larger_films_get_fewer_films() -> None:
    sizes = [batch_for(24 * GIB, network("multitask-unet", side)) for side in (256, 512, 1024)]
    assert sizes == [128, 32, 8]
    assert batch_for(24 * GIB, network("qu-ex-unetplusplus")) == 16


def test_the_network_that_needs_most_decides_for_a_bundle() -> None:
    card = DEFAULT.model_dump()
    card["networks"] = [card["networks"][0], {**card["networks"][0], **_SECOND}]
    assert batch_for(24 * GIB, Card.model_validate(card)) == batch_for(24 * GIB, network("qu-ex-unetplusplus"))


def test_an_unknown_architecture_counts_as_the_largest() -> None:
    assert batch_for(24 * GIB, network("no-such-network")) == batch_for(24 * GIB, network("qu-ex-unetplusplus"))


def test_two_batches_take_at_most_two_fifths_of_the_memory() -> None:
    for gib, row in FORWARD_BATCHES.items():
        for bound, batch in zip(COLUMNS_MB, row, strict=True):
            assert 2 * batch * bound <= 0.4 * 1024 * gib, f"{batch} films of {bound} MB on {gib} GiB"


def test_more_memory_and_smaller_networks_never_get_fewer_films() -> None:
    for row in FORWARD_BATCHES.values():
        assert list(row) == sorted(row, reverse=True)
    for smaller, larger in itertools.pairwise(FORWARD_BATCHES.values()):
        assert all(a <= b for a, b in zip(smaller, larger, strict=True))


@pytest.mark.parametrize("name", load_catalog())
def test_the_memory_of_a_film_is_stated_for_every_architecture(name: str) -> None:
    """Every variant needs at most what the table states, and one needs nearly all of it."""
    entry = load_catalog()[name]
    needs = []
    for variant in entry.variants:
        with torch.device("meta"):
            built = entry.build(variant.arguments).eval()
        needs.append(peak_film_mb(built, entry.side))
    assert FILM_MB[name] - 1 <= max(needs) <= FILM_MB[name]
