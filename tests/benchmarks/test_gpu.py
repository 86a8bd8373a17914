"""The GPU benchmark without a GPU: its steps, its samples, its lines, its table."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference import devices
from tests.benchmarks import gpu, gpu_networks, report, tables
from tests.benchmarks.gpu import GpuSamples, Step, run_steps
from tests.benchmarks.machine import Cost
from tests.support.fake_cuda import fake_cuda
from tests.support.tiny_bundles import tiny_bundle

pytestmark = pytest.mark.usefixtures("one_thread")


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(devices, "has_cuda_driver", lambda: False)
    assert gpu.main([]) == 2
    assert capsys.readouterr().err == "expected a CUDA device; found none\n"


def test_steps_that_the_time_has_no_room_for_are_named() -> None:
    def fails(left: float) -> list[dict[str, Any]]:
        raise subprocess.CalledProcessError(3, "x")

    def hangs(left: float) -> list[dict[str, Any]]:
        raise subprocess.TimeoutExpired("x", left)

    steps = [
        Step("first", 10, lambda left: [{"left": left}]),
        Step("too long", 500, lambda left: [{"wrong": True}]),
        Step("fails", 10, fails),
        Step("hangs", 10, hangs),
        Step("last", 10, lambda left: [{"last": True}]),
    ]
    lines, left_out = run_steps(steps, time.monotonic() + 100)
    assert 99 < lines[0]["left"] <= 100
    assert lines[1:] == [{"last": True}]
    assert [text.partition(":")[0] for text in left_out] == ["too long", "fails", "hangs"]
    assert "ended with code 3" in left_out[1]


def test_utilisation_is_the_mean_between_the_first_and_the_last_busy_sample() -> None:
    printed = "\n".join(["0, 300", "50, 900", "0, 1024", "[N/A], 5", "100, 2048", "0, 300"])
    with GpuSamples([sys.executable, "-c", f"print({printed!r})"]) as samples:
        deadline = time.monotonic() + 20
        while len(samples.mib) < 5 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert samples.busy_percent == 50.0
    assert max(samples.mib) == 2048


def test_no_utilisation_without_the_tool_or_a_busy_sample() -> None:
    with GpuSamples(["/no/such/tool"]) as samples:
        pass
    assert samples.busy_percent is None


@pytest.mark.parametrize("compiled", [False, True])
def test_networks_are_measured_for_each_number_of_films(monkeypatch: pytest.MonkeyPatch, compiled: bool) -> None:
    calls: list[dict[str, Any]] = []

    def fake(module: torch.nn.Module, **options: Any) -> torch.nn.Module:
        calls.append(options)
        return module

    monkeypatch.setattr(torch, "compile", fake)
    lines = gpu_networks.measure(tiny_bundle(), "cpu", [1, 3], compiled=compiled, seconds=2)
    assert [line["forward_batch"] for line in lines] == [1, 3]
    assert all(line["ms_per_film"] > 0 for line in lines)
    assert all(line["films_per_s"] == pytest.approx(1000 / line["ms_per_film"], rel=0.01) for line in lines)
    assert calls == [{"dynamic": False}] * 2 * compiled


def test_a_number_that_does_not_fit_has_a_line_without_speed() -> None:
    with fake_cuda(8.0) as cuda:
        cuda.most_films = 4
        torch.cuda.synchronize = lambda: None  # type: ignore[assignment]
        lines = gpu_networks.measure(tiny_bundle(), "cuda", [8], compiled=False, seconds=0.2)
    assert lines == [{"forward_batch": 8, "precision": "bf16"}]


def test_the_networks_run_in_their_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def cost_of(command: list[str], *, timeout_s: float) -> Cost:
        seen.append(command)
        assert timeout_s == 60
        return Cost(1, 1, 1, 'noise\n[{"forward_batch": 16, "films_per_s": 5.0}]\n')

    monkeypatch.setattr("tests.benchmarks.machine.cost_of", cost_of)
    lines = gpu.networks("a-bundle", "default", [16, 64], "compiled", 60)
    assert lines == [{"bundle": "default", "what": "networks, compiled", "forward_batch": 16, "films_per_s": 5.0}]
    assert seen[0][2:] == [
        *("tests.benchmarks.gpu_networks", "a-bundle", "--batches", "16", "64", "--seconds", "30.0", "--compiled")
    ]


def test_the_networks_of_qu_ex_are_the_recipes(tmp_path: Path) -> None:
    bundle = load_bundle(gpu.write_qu_ex(tmp_path / "qu-ex"))
    from cxrlib.training.recipe import load_recipe

    recipe = load_recipe("qu-ex")
    assert [(each.name, each.architecture, each.arguments) for each in bundle.card.networks] == [
        (each.name, each.architecture, each.arguments) for each in recipe.networks
    ]
    steps = gpu.steps_for({"default": "default", "qu-ex": str(tmp_path / "qu-ex")}, tmp_path, 80 * 2**30)
    assert [step.name for step in steps[:4]] == [
        "networks of default, eager",
        "cxr score with default, eager",
        "networks of qu-ex, eager",
        "cxr score with qu-ex, eager",
    ]
    assert sum(step.least_s for step in steps) < gpu.BUDGET_S


def test_lines_go_to_the_csv_and_to_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The whole benchmark, with measurements that are made up."""
    readme = tmp_path / "README.md"
    readme.write_text("<!-- table: gpu -->\nnone yet\n<!-- end -->\n<!-- table: machines -->\n<!-- end -->\n")
    for module in (tables, report):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "README", readme)
    monkeypatch.setattr(gpu, "make_archive", lambda folder, styles, films: folder)
    monkeypatch.setattr(gpu, "write_qu_ex", lambda folder: "default")
    monkeypatch.setattr(
        "tests.benchmarks.machine.describe_gpu", lambda: {"gpu": "NVIDIA T0", "gpu_total_gib": "80", "cuda": "13.0"}
    )

    def networks(bundle: str, name: str, batches: list[int], kind: str, seconds: float) -> list[dict[str, Any]]:
        return [
            {
                "bundle": name,
                "what": f"networks, {kind}",
                "forward_batch": batch,
                "ms_per_film": 0.1,
                "films_per_s": 1e4,
            }
            for batch in batches
        ]

    manifest = {"films_per_second": 400.0, "forward_batch": 256, "counts": {"listed": 2000}}
    samples = GpuSamples()
    samples.percent, samples.mib = [0, 10, 30], [512, 1024, 2048]
    cost = Cost(12.34, 100.0, 1000, json.dumps(manifest), {"cxrlib.parallel.worker_main": 90.0})
    monkeypatch.setattr(gpu, "networks", networks)
    monkeypatch.setattr(gpu, "score", lambda _, name, *rest: [gpu.score_line(name, rest[1], manifest, cost, samples)])
    with fake_cuda(80.0):
        assert gpu.main(["--films", "10"]) == 0
        assert gpu.main(["--films", "10"]) == 0, "a second run replaces the lines of the first"
    table = pd.read_csv(tmp_path / "gpu.csv")
    assert len(table) == 2 * (3 + 1) + 2 * (1 + 1)
    assert (
        "| NVIDIA T0 | default | cxr score, eager |  | 256 | 2.5 | 400.0 | 2.0 | 20.0 | 0.9 | 12.3 |"
        in readme.read_text()
    )
    assert "none yet" not in readme.read_text()
