"""Measure seconds per film and peak memory of `cxr score` at 500, 2,000 and 10,000 films, in turns.

``python -m tests.benchmarks.scale`` (``make bench-scale``) writes a line per size to ``results/scale.csv``. `slope` is
that of log seconds over log films; it is 1 if a film costs the same in an archive of any size. Scoring starts with
seconds of imports, so `slope_beyond_first` takes only the films and seconds beyond the smallest size. Films are JPEG
2000 of 1024 x 1024 pixels, so that the largest size takes minutes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tests.benchmarks import machine
from tests.benchmarks.archives import ARCHIVES, make_archive
from tests.benchmarks.machine import Cost
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

SIZES: Final = (500, 2_000, 10_000)
_SIDE: Final = 1024


def score_once(films: Path, out: Path) -> tuple[Cost, float]:
    """Score a folder into a new root; return the cost and the manifest's seconds of scoring."""
    command = [sys.executable, "-m", "cxr_flows.cli.main", "score", str(films), "--out", str(out), "--quiet", "--json"]
    cost = machine.cost_of(command)
    return cost, float(json.loads(cost.output)["seconds_scoring"])


def slope(films: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the least-squares slope of log seconds over log films."""
    return float(np.polyfit(np.log(films), np.log(seconds), 1)[0])


def measure(sizes: Sequence[int], repeats: int) -> None:
    """Score an archive of each size in turns and write a line for each to the results."""
    scoring: dict[int, list[float]] = {size: [] for size in sizes}
    costs: dict[int, list[Cost]] = {size: [] for size in sizes}
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        archives = {
            size: make_archive(Path(folder) / str(size), ARCHIVES["jpeg_2000"], size, side=_SIDE) for size in sizes
        }
        for repeat in range(repeats):
            for size, archive in archives.items():
                cost, seconds = score_once(archive, Path(folder) / f"out-{size}-{repeat}")
                costs[size].append(cost)
                scoring[size].append(seconds)
    medians = {size: statistics.median(scoring[size]) for size in sizes}
    peaks = {size: statistics.median(cost.peak_mib for cost in costs[size]) for size in sizes}
    first = sizes[0]
    further = {size: (medians[size] - medians[first]) / (size - first) for size in sizes[1:]}
    beyond = slope([size - first for size in further], [medians[size] - medians[first] for size in further])
    for size in sizes:
        line = {
            "films": size,
            "turns": repeats,
            "scoring_s": round(medians[size], 2),
            "whole_command_s": round(statistics.median(cost.seconds for cost in costs[size]), 2),
            "ms_per_film": round(1000 * medians[size] / size, 3),
            "ms_per_further_film": round(1000 * further[size], 3) if size in further else "",
            "peak_mib": round(peaks[size]),
            "peak_over_first": round(peaks[size] / peaks[first], 3),
            "slope": round(slope(sizes, [medians[size] for size in sizes]), 3),
            "slope_beyond_first": round(beyond, 3),
            **machine.describe(),
        }
        add_line("scale", line, keys=("films", "kind"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("--films", type=int, nargs="+", default=list(SIZES), help="three sizes or more")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    measure(sorted(chosen.films), chosen.repeats)
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
