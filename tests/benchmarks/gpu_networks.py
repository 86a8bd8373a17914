"""Measure the forward pass of a bundle's networks alone, for several numbers of films per pass.

``python -m tests.benchmarks.gpu_networks BUNDLE --batches 16 64 --seconds 20`` writes one line of JSON: a list with an
object per number of films, that of a number that did not fit into memory without a speed. Films are noise that is on
the device already, and results stay there. Several networks run one after another, as in a run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch

from cxrlib.models.bundle import Bundle, load_bundle
from cxrlib.models.inference.precision import Precision, choose_precision
from cxrlib.models.inference.torch_network import TorchNetwork, build_networks

#: Passes before the clock starts: they choose algorithms, compile, and fill the allocator.
_WARM_UP: Final = 3


def measure(
    bundle: Bundle, device: str, batches: Sequence[int], *, compiled: bool, seconds: float
) -> list[dict[str, Any]]:
    """Return the speed of the networks for each number of films per pass; those that the time has no room for are left
    out."""
    precision = choose_precision("auto", device)
    networks = build_networks(bundle, device, precision)
    ends = time.monotonic() + seconds
    lines = []
    for place, batch in enumerate(batches):
        if place and time.monotonic() > ends:
            break
        share = max(0.5, (ends - time.monotonic()) / (len(batches) - place))
        lines.append(_line(networks, device, precision, batch, share, compiled=compiled))
    return lines


def _line(
    networks: Sequence[TorchNetwork],
    device: str,
    precision: Precision,
    batch: int,
    seconds: float,
    *,
    compiled: bool,
) -> dict[str, Any]:
    on_gpu = device != "cpu"
    line: dict[str, Any] = {"forward_batch": batch, "precision": precision.value}
    started = time.monotonic()
    try:
        for network in networks if compiled else ():
            network.compile(batch)
        films = [network.to_tensor(_noise(network, batch)) for network in networks]
        for _ in range(_WARM_UP):
            _forward(networks, films)
        _wait(on_gpu)
        line["warm_up_s"] = round(time.monotonic() - started, 1)
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        # Half of the time at most: a compiled network has used much of it already.
        ends = time.monotonic() + min(3.0, seconds / 2)
        passes, started = 0, time.perf_counter()
        while not passes or time.monotonic() < ends:
            _forward(networks, films)
            _wait(on_gpu)
            passes += 1
        ms = 1000 * (time.perf_counter() - started) / passes / batch
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return line
    peak = {"gpu_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)} if on_gpu else {}
    return {**line, "ms_per_film": round(ms, 4), "films_per_s": round(1000 / ms, 1), **peak}


def _noise(network: TorchNetwork, batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    grid = network.input
    return np.random.default_rng(1).random((batch, grid.rows, grid.columns), dtype=np.float32)


def _forward(networks: Sequence[TorchNetwork], films: Sequence[torch.Tensor]) -> None:
    for network, film in zip(networks, films, strict=True):
        network.logits(film)


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="gpu_networks", description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--batches", type=int, nargs="+", default=[16])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compiled", action="store_true")
    chosen = parser.parse_args(arguments)
    lines = measure(
        load_bundle(chosen.bundle), chosen.device, chosen.batches, compiled=chosen.compiled, seconds=chosen.seconds
    )
    sys.stdout.write(json.dumps(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
