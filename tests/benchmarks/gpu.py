"""Measure the networks and `cxr score` on a GPU, in at most eight minutes.

``python -m tests.benchmarks.gpu`` (``make bench-gpu``) draws an archive of the mix, then measures the default bundle
and the two networks of qu-ex (with random weights, which compute as fast as trained ones): the forward pass alone for
several numbers of films, eager and compiled, and `cxr score` as a whole. A line each goes to ``results/gpu.csv`` and to
the table in the README. A step that the time has no room for is left out, and named.

- `gpu_percent` is the mean of what ``nvidia-smi`` reports as utilisation, between the first and the last busy sample.
- `decode_share` is the part of all processor seconds that the processes take which fetch and decode films.
- `seconds` is the whole command, with its start; `films_per_s` counts only the scoring, as the manifest does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from cxr_schemas import Card
from cxrlib.models.bundle import load_bundle, write_bundle
from cxrlib.models.inference.devices import cuda_memories
from cxrlib.models.inference.forward_batch import batch_for
from tests.benchmarks import machine
from tests.benchmarks.archives import ARCHIVES, make_archive
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

BUDGET_S: Final = 480.0
#: Seconds left for writing the table.
_RESERVE_S: Final = 10.0
#: Most seconds for the networks of one bundle.
_NETWORKS_S: Final = 120.0
#: Films per forward pass that are measured beside the table's own.
_BATCHES: Final = (16, 64, 256)
KEYS: Final = ("gpu", "bundle", "what", "forward_batch")
COLUMNS: Final = (
    *("gpu", "bundle", "what", "forward_batch", "precision", "films", "ms_per_film", "films_per_s", "gpu_gib"),
    *("gpu_percent", "decode_share", "warm_up_s", "seconds"),
)
_DECODING: Final = "cxrlib.parallel.worker_main"
#: The networks of qu-ex that are best in its Table 2, as its recipe names them.
_QU_EX: Final = (
    ("lung", "qu-ex-fpn", {"encoder": "densenet121", "output": "lung"}),
    ("infection", "qu-ex-unetplusplus", {"encoder": "densenet121", "output": "infection"}),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement: its name, the seconds that it needs at least, and how it is made within given seconds."""

    name: str
    least_s: float
    run: Callable[[float], list[dict[str, Any]]]


class GpuSamples:
    """Samples utilisation and memory of a GPU with ``nvidia-smi`` while a block runs; nothing where it is missing."""

    def __init__(self, command: Sequence[str] = ()) -> None:
        self._command = list(command) or [
            *("nvidia-smi", "--id=0", "--query-gpu=utilization.gpu,memory.used"),
            *("--format=csv,noheader,nounits", "--loop-ms=200"),
        ]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.percent: list[float] = []
        self.mib: list[float] = []

    def __enter__(self) -> GpuSamples:
        try:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        except OSError:
            return self
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._reader is not None:
            self._process.terminate()
            self._process.wait()
            self._reader.join()

    def _read(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            percent, _, mib = line.partition(",")
            try:
                sample = float(percent), float(mib)
            except ValueError:  # "[N/A]"
                continue
            self.percent.append(sample[0])
            self.mib.append(sample[1])

    @property
    def busy_percent(self) -> float | None:
        """Mean utilisation between the first and the last busy sample; None if there is none."""
        busy = [number for number, percent in enumerate(self.percent) if percent > 0]
        if not busy:
            return None
        between = self.percent[busy[0] : busy[-1] + 1]
        return round(sum(between) / len(between), 1)


def run_steps(steps: Sequence[Step], ends: float) -> tuple[list[dict[str, Any]], list[str]]:
    """Run the steps in order until the clock `ends`; return their lines, and what was left out, with the reason."""
    lines: list[dict[str, Any]] = []
    left_out: list[str] = []
    for step in steps:
        left = ends - time.monotonic()
        if left < step.least_s:
            left_out.append(f"{step.name}: {left:.0f} s were left, it needs {step.least_s:.0f}")
            continue
        try:
            lines += step.run(left)
        except subprocess.TimeoutExpired:
            left_out.append(f"{step.name}: it took longer than the {left:.0f} s that were left")
        except subprocess.CalledProcessError as error:
            left_out.append(f"{step.name}: it ended with code {error.returncode}")
    return lines, left_out


def networks(bundle: str, name: str, batches: Sequence[int], kind: str, seconds: float) -> list[dict[str, Any]]:
    """Measure the forward pass alone in its own process, ``eager`` or ``compiled``; `seconds` is its limit."""
    seconds = min(seconds, _NETWORKS_S)
    command = [sys.executable, "-m", "tests.benchmarks.gpu_networks", bundle, "--batches", *map(str, batches)]
    command += ["--seconds", str(min(30.0, seconds / 2)), *(["--compiled"] if kind == "compiled" else [])]
    cost = machine.cost_of(command, timeout_s=seconds)
    found: list[dict[str, Any]] = json.loads(cost.output.splitlines()[-1])
    return [{"bundle": name, "what": f"networks, {kind}", **line} for line in found]


def score(bundle: str, name: str, archive: Path, kind: str, seconds: float) -> list[dict[str, Any]]:
    """Measure `cxr score` of an archive; `seconds` is its limit."""
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as out, GpuSamples() as samples:
        command = [sys.executable, "-m", "cxr_flows.cli.main", "score", str(archive), "--out", out, "--quiet", "--json"]
        command += ["--bundle", bundle, "--device", "cuda"]
        environment = {"CXR_RUN__COMPILE_NETWORKS": str(kind == "compiled").lower()}
        cost = machine.cost_of(command, environment=environment, timeout_s=seconds)
    return [score_line(name, kind, json.loads(cost.output), cost, samples)]


def score_line(
    name: str, kind: str, manifest: Mapping[str, Any], cost: machine.Cost, samples: GpuSamples
) -> dict[str, Any]:
    """Return the line of a run of `cxr score`."""
    rate = float(manifest["films_per_second"])
    percent = samples.busy_percent
    return {
        "bundle": name,
        "what": f"cxr score, {kind}",
        "forward_batch": manifest["forward_batch"],
        "films": manifest["counts"]["listed"],
        "ms_per_film": round(1000 / rate, 4) if rate else "",
        "films_per_s": round(rate, 1),
        "gpu_gib": round(max(samples.mib) / 1024, 2) if samples.mib else "",
        "gpu_percent": "" if percent is None else percent,
        "decode_share": round(cost.by_module.get(_DECODING, 0.0) / cost.cpu_seconds, 3),
        "seconds": round(cost.seconds, 1),
    }


def write_qu_ex(folder: Path) -> str:
    """Write a bundle of the two networks of qu-ex with random weights, and return its folder."""
    import torch

    from cxrlib.models.architectures.catalog import find_architecture
    from cxrlib.training.export import network_weights

    torch.manual_seed(1)
    card = load_bundle("default").card.model_dump()
    entry = {**card["networks"][0], "input": None}
    card["networks"] = [
        {
            **entry,
            "name": name,
            "architecture": kind,
            "arguments": of,
            "weights": f"{name}.safetensors",
            "outputs": [name],
        }
        for name, kind, of in _QU_EX
    ]
    card |= {"classes": (), "metrics": (), "localisation": None}
    del card["postprocess"]["normal_gate"]
    card["bundle"] |= {"name": "qu-ex", "description": "The networks of qu-ex with random weights, to measure speed."}
    weights = {f"{name}.safetensors": network_weights(find_architecture(kind).build(of)) for name, kind, of in _QU_EX}
    write_bundle(str(folder), Card.model_validate(card), weights)
    return str(folder)


def steps_for(bundles: Mapping[str, str], archive: Path, memory: int) -> list[Step]:
    """Return the measurements in the order of their worth; compiling may take minutes and comes last."""
    steps: list[Step] = []
    for kind in ("eager", "compiled"):
        for name, bundle in bundles.items():
            chosen = batch_for(memory, load_bundle(bundle).card)
            others = () if kind == "compiled" else _BATCHES
            batches = [chosen, *(batch for batch in others if batch != chosen)]
            bare = partial(networks, bundle, name, batches, kind)
            whole = partial(score, bundle, name, archive, kind)
            steps.append(Step(f"networks of {name}, {kind}", 25 if kind == "eager" else 40, bare))
            steps.append(Step(f"cxr score with {name}, {kind}", 30 if kind == "eager" else 90, whole))
    return steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="gpu", description=__doc__)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=BUDGET_S, help="time for everything")
    chosen = parser.parse_args(arguments)
    ends = time.monotonic() + chosen.seconds - _RESERVE_S
    memories = cuda_memories()
    if not memories:
        sys.stderr.write("expected a CUDA device; found none\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        archive = make_archive(Path(folder) / "archive", ARCHIVES["mix"], chosen.films)
        bundles = {"default": "default", "qu-ex": write_qu_ex(Path(folder) / "qu-ex")}
        lines, left_out = run_steps(steps_for(bundles, archive, memories[0]), ends)
    store(lines)
    for text in left_out:
        sys.stderr.write(f"left out: {text}\n")
    return 0 if lines else 1


def store(lines: Sequence[Mapping[str, Any]]) -> None:
    """Write the lines to ``results/gpu.csv`` and the tables to the README."""
    gpu = machine.describe_gpu()
    for line in lines:
        add_line("gpu", {**dict.fromkeys(COLUMNS, ""), **line, **gpu, **machine.describe()}, keys=KEYS)
    if lines:
        write_report()


if __name__ == "__main__":
    sys.exit(main())
