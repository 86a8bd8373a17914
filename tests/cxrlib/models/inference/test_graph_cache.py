"""Networks kept as programs: the same bits without the code that built them, or built anew."""

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
from cxrlib.models.inference import network as network_module
from cxrlib.models.inference.engine import TorchEngine
from cxrlib.models.inference.graph import Program, UnfitError
from tests.cxrlib.models.inference.test_engine import everything, film, same
from tests.support.tiny_bundles import tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread", "own_folder")


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    yield
    assert not [path for path in tmp_path.rglob("tmp*") if path.is_file()], "nothing half written is left"


def files() -> list[Path]:
    return sorted(graph_cache.folder().glob("*"))


def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> torch.nn.Module:
        raise AssertionError("a network was built")

    monkeypatch.setattr(network_module, "load_network", refuse)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_kept_network_gives_the_bits_of_the_one_that_was_built(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    films = [film(seed) for seed in range(5)]
    built = TorchEngine(tiny_bundle(), device="cpu", precision=precision).predict(films)
    assert files() == [], "nothing is kept unasked"
    first = TorchEngine(tiny_bundle(), device="cpu", precision=precision, keep=True).predict(films)
    assert len(files()) == 1
    nothing_is_built(monkeypatch)
    later = TorchEngine(tiny_bundle(), device="cpu", precision=precision, keep=True).predict(films)
    assert all(same(a, b) and same(a, c) for a, b, c in zip(built, first, later, strict=True))


def test_of_a_system_all_networks_are_kept_but_the_explained_one() -> None:
    films = [film(seed) for seed in range(5)]
    engines = [TorchEngine(everything(), device="cpu", precision="fp32", keep=keep) for keep in (False, True, True)]
    assert len(files()) == 2
    built, first, later = (engine.predict(films) for engine in engines)
    assert all(same(a, b) and same(a, c) for a, b, c in zip(built, first, later, strict=True))


def test_a_smaller_batch_is_run_by_the_network_itself() -> None:
    TorchEngine(tiny_bundle(8), device="cpu", precision="bf16", keep=True)
    engine = TorchEngine(tiny_bundle(8), device="cpu", precision="bf16", keep=True)
    engine.batch = 2
    expected = TorchEngine(tiny_bundle(2), device="cpu", precision="bf16")
    films = [film(seed) for seed in range(5)]
    assert all(same(a, b) for a, b in zip(engine.predict(films), expected.predict(films), strict=True))


@pytest.mark.parametrize("harm", [lambda data: data[:-9], lambda data: data[:-1] + b"?", lambda _: b""])
def test_a_file_that_is_cut_or_altered_is_not_used_and_is_replaced(
    harm: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", keep=True)
    (path,) = files()
    whole = path.read_bytes()
    path.write_bytes(harm(whole))
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", keep=True)
    assert "it is built anew" in caplog.text
    assert path.read_bytes() == whole, "the same bytes each time"


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    graph_cache.folder().parent.mkdir(exist_ok=True)
    graph_cache.folder().write_bytes(b"a file stands here")
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", keep=True).predict([film(0)])
    assert graph_cache.folder().read_bytes() == b"a file stands here"


def test_a_file_is_known_by_all_that_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_no_run_has_read_for_long_is_removed() -> None:
    graph_cache.folder().mkdir(parents=True)
    old, new = graph_cache.folder() / "old", graph_cache.folder() / "new"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    TorchEngine(tiny_bundle(), device="cpu", precision="fp32", keep=True)
    assert old not in files()
    assert new in files()


FILMS = torch.zeros(2, 1, 8, 8)


def by_value(films: Tensor) -> Tensor:
    return films * 2 if bool(films.sum() > 1) else films


def by_numpy(films: Tensor) -> Tensor:
    return films + torch.from_numpy(np.sort(films.numpy(), axis=0))


def by_chance(films: Tensor) -> Tensor:
    return films + torch.rand(films.shape)


def without_memory(films: Tensor) -> Tensor:
    raise RuntimeError("not enough memory: you tried to allocate 1 bytes")


def into_a_weight(films: Tensor) -> Tensor:
    return _WEIGHT.add_(films).clone()


_WEIGHT = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize("forward", [by_value, by_numpy, by_chance, without_memory, into_a_weight])
def test_a_pass_that_is_no_list_of_operations_is_no_program(forward: Callable[[Tensor], Tensor]) -> None:
    assert Program.record(lambda films: {"lung": forward(films)}, FILMS) is None


def test_what_was_no_program_is_none_once_read() -> None:
    for data in (b"", b"\x00" * 64, np.random.default_rng(0).bytes(256)):
        with pytest.raises(UnfitError, match="expected a program"):
            Program.from_bytes(data)


def test_the_default_bundle_starts_without_what_networks_are_built_of() -> None:
    script = (
        "import sys; from cxrlib.models.bundle import load_bundle; from cxrlib.models.inference.engine import Engine; "
        "Engine(load_bundle('default'), device='cpu', keep=True); "
        "print([name for name in ('timm', 'torchvision', 'segmentation_models_pytorch') if name in sys.modules])"
    )
    told = [subprocess.check_output([sys.executable, "-c", script], text=True).strip() for _ in range(2)]
    assert told == ["['timm', 'torchvision', 'segmentation_models_pytorch']", "[]"]
