"""Cached graphs give the same bits as the built network; damaged or missing files only cost the time to build it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrlib.models.inference import graph_cache
from cxrlib.models.inference import torch_network as network_module
from cxrlib.models.inference.graph import GraphError, NetworkGraph
from cxrlib.models.inference.torch_engine import TorchEngine
from tests.cxrlib.models.inference.test_torch_engine import bundle_with_all_features, film, same
from tests.support.tiny_bundles import tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread", "own_folder")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    yield
    assert not [path for path in tmp_path.rglob("tmp*") if path.is_file()], "no temporary file remains"


def files() -> list[Path]:
    return sorted(graph_cache.folder().glob("*"))


def forbid_building(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> torch.nn.Module:
        raise AssertionError("a network was built")

    monkeypatch.setattr(network_module, "load_network", refuse)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cached_graph_gives_the_bits_of_the_built_network(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(seed) for seed in range(5)]
    built = TorchEngine(tiny_bundle(), device="cpu", precision=precision).predict(films)
    assert files() == [], "nothing is cached by default"
    first = TorchEngine(tiny_bundle(), device="cpu", precision=precision, cache_graphs=True).predict(films)
    assert len(files()) == 1
    forbid_building(monkeypatch)
    later = TorchEngine(tiny_bundle(), device="cpu", precision=precision, cache_graphs=True).predict(films)
    assert all(same(a, b) and same(a, c) for a, b, c in zip(built, first, later, strict=True))


def test_all_networks_are_cached_except_the_explained_one() -> None:
    films = [film(seed) for seed in range(5)]
    engines = [
        TorchEngine(bundle_with_all_features(), device="cpu", precision="fp32", cache_graphs=cached)
        for cached in (False, True, True)
    ]
    assert len(files()) == 2
    built, first, later = (engine.predict(films) for engine in engines)
    assert all(same(a, b) and same(a, c) for a, b, c in zip(built, first, later, strict=True))


def test_a_smaller_batch_runs_the_built_network() -> None:
    TorchEngine(tiny_bundle(8), device="cpu", precision="bf16", cache_graphs=True)
    engine = TorchEngine(tiny_bundle(8), device="cpu", precision="bf16", cache_graphs=True)
    engine.batch = 2
    expected = TorchEngine(tiny_bundle(2), device="cpu", precision="bf16")
    films = [film(seed) for seed in range(5)]
    assert all(same(a, b) for a, b in zip(engine.predict(films), expected.predict(films), strict=True))


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data[:-1] + b"?", lambda _: b""])
def test_a_damaged_file_is_ignored_and_replaced(
    damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", cache_graphs=True)
    (path,) = files()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", cache_graphs=True)
    assert "the network is built instead" in caplog.text
    assert path.read_bytes() == whole, "the same bytes each time"


def test_a_cache_folder_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    graph_cache.folder().parent.mkdir(exist_ok=True)
    graph_cache.folder().write_bytes(b"a file, not a folder")
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", cache_graphs=True).predict([film(0)])
    assert graph_cache.folder().read_bytes() == b"a file, not a folder"


def test_the_key_depends_on_bundle_network_precision_batch_and_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        graph_cache.key(digest, network, precision, batch)
        for digest in "ab"
        for network in "cd"
        for precision in ("fp32", "bf16")
        for batch in (1, 2)
    }
    monkeypatch.setattr(graph_cache, "version", lambda _: "0")
    names.add(graph_cache.key("a", "c", "fp32", 1))
    assert len(names) == 17


def test_files_that_no_run_has_read_for_long_are_removed() -> None:
    graph_cache.folder().mkdir(parents=True)
    old, new = graph_cache.folder() / "old", graph_cache.folder() / "new"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", cache_graphs=True)
    assert old not in files()
    assert new in files()


FILMS = torch.zeros(2, 1, 8, 8)


def reads_values(films: Tensor) -> Tensor:
    return films * 2 if bool(films.sum() > 1) else films


def uses_numpy(films: Tensor) -> Tensor:
    return films + torch.from_numpy(np.sort(films.numpy(), axis=0))


def draws_random_numbers(films: Tensor) -> Tensor:
    return films + torch.rand(films.shape)


def runs_out_of_memory(films: Tensor) -> Tensor:
    raise RuntimeError("not enough memory: you tried to allocate 1 bytes")


def changes_a_weight(films: Tensor) -> Tensor:
    return _WEIGHT.add_(films).clone()


_WEIGHT = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    "forward", [reads_values, uses_numpy, draws_random_numbers, runs_out_of_memory, changes_a_weight]
)
def test_a_pass_that_is_not_a_fixed_list_of_operations_is_not_recorded(forward: Callable[[Tensor], Tensor]) -> None:
    assert NetworkGraph.record(lambda films: {"lung": forward(films)}, FILMS) is None


def test_bytes_that_are_not_a_graph_are_rejected() -> None:
    for data in (b"", b"\x00" * 64, np.random.default_rng(0).bytes(256)):
        with pytest.raises(GraphError, match="expected a recorded graph"):
            NetworkGraph.from_bytes(data)


def test_with_a_cached_graph_the_default_bundle_imports_no_network_library() -> None:
    script = (
        "import sys; from cxrlib.models import TorchEngine, load_bundle; "
        "TorchEngine(load_bundle('default'), device='cpu', cache_graphs=True); "
        "print([name for name in ('timm', 'torchvision', 'segmentation_models_pytorch') if name in sys.modules])"
    )
    imported = [subprocess.check_output([sys.executable, "-c", script], text=True).strip() for _ in range(2)]
    assert imported == ["['timm', 'torchvision', 'segmentation_models_pytorch']", "[]"]
