"""Measure Flink with one and two task managers against the local runner, in films per second.

``tests/cluster/servers/isolated.sh python -m tests.benchmarks.flink_scale`` (``make bench-flink``) starts an S3 server
and, for each setting in turn, a cluster whose machines are pinned to the given cores; SDK workers are pinned with their
task manager. Small phantoms are scored from bucket to bucket. A line per setting goes to ``results/flink_scale.csv``:
`seconds` is the whole command, with the start of the job and its workers but not of the cluster; `settling` is films
per second between the first and the last settled chunk, without any start-up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks import machine
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line
from tests.cluster.lane import Bucket, make_bucket
from tests.cluster.servers.flink import cluster
from tests.cluster.servers.hosts import Host, hosts
from tests.cluster.servers.services import ObjectStore, object_store


@dataclass(frozen=True)
class Setting:
    """The cores of each task manager, or in `local` those of the local runner, in the notation of ``taskset``."""

    name: str
    task_managers: tuple[str, ...] = ()
    local: str = ""


SETTINGS: Final = (
    Setting("local runner, 2 cores", local="0,1"),
    Setting("1 task manager, 1 core", ("0",)),
    Setting("1 task manager, 2 cores", ("0,1",)),
    Setting("2 task managers, 1 core each", ("0", "1")),
)
#: Films per chunk: few, so that all workers finish their last chunks together.
_CHUNK: Final = 25


@dataclass(frozen=True)
class Turn:
    """One turn of a setting: seconds of the command, and films per second between first and last settled chunk."""

    seconds: float
    settling: float


def settling(bucket: Bucket, out: str, films: int) -> float:
    """Return films per second between the first and the last settled chunk, by the object store's timestamps."""
    chunks = bucket.files().find(f"scores/{out}/scores", detail=True).values()
    times = sorted(chunk["LastModified"].timestamp() for chunk in chunks)
    return float((films - _CHUNK) / (times[-1] - times[0]))


def score(folder: Path, setting: Setting, network: Sequence[Host], objects: ObjectStore, out: str) -> tuple[float, int]:
    """Score the films in one setting; return the seconds of the whole command and the number of scored films."""
    own, *others = network
    options: tuple[str, ...] = ()
    used = others[: len(setting.task_managers)]
    cores = setting.task_managers
    with cluster(folder, own, used, objects.owner, cores=cores) if used else nullcontext() as flink:
        if flink is not None:
            # A slot scores one chunk at a time, with as many parallel batches as it has cores.
            beam = flink.beam_options(parallelism=len(used))
            options = ("--runner", "flink", *(f"--beam-option={option}" for option in beam))
        pin = ("taskset", "--cpu-list", setting.local) if setting.local else ()
        arguments = ("score", "s3://films/bench/films", "--out", f"s3://scores/{out}", "--chunk-size", str(_CHUNK))
        command = (*pin, sys.executable, "-m", "cxr_flows.cli.main", *arguments, "--quiet", "--json", *options)
        cost = machine.cost_of(command, environment={**os.environ, **objects.owner})
    return cost.seconds, int(json.loads(cost.output)["counts"]["scored"])


def measure(films: int, repeats: int) -> None:
    """Run all settings in turns and write a line for each to the results."""
    taken: dict[str, list[Turn]] = {setting.name: [] for setting in SETTINGS}
    with (
        tempfile.TemporaryDirectory(prefix="cxr-bench-") as name,
        hosts(2) as network,
        object_store(Path(name) / "store", network[0].address) as objects,
    ):
        folder = Path(name)
        bucket = Bucket(folder, objects)
        for created in ("films", "scores"):
            make_bucket(objects, created)
        bucket.make_archive("bench", films, 0)
        for turn in range(repeats):
            for number, setting in enumerate(SETTINGS):
                home = folder / f"{turn}-{number}"
                home.mkdir()
                seconds, scored = score(home, setting, network, objects, f"{turn}-{number}")
                if scored != films:
                    raise RuntimeError(f"{setting.name}: expected {films} scored films; got {scored}")
                taken[setting.name].append(Turn(seconds, settling(bucket, f"{turn}-{number}", films)))
    for setting in SETTINGS:
        own = taken[setting.name]
        line: dict[str, object] = {
            "setting": setting.name,
            "films": films,
            "turns": repeats,
            "seconds": round(statistics.median(turn.seconds for turn in own), 2),
            "settling_films_per_s": round(statistics.median(turn.settling for turn in own), 2),
        }
        for short, other in (("local", SETTINGS[0]), ("one_core", SETTINGS[1])):
            pairs = list(zip(own, taken[other.name], strict=True))
            line[f"seconds_over_{short}"] = round(statistics.median(a.seconds / b.seconds for a, b in pairs), 3)
            line[f"settling_over_{short}"] = round(statistics.median(a.settling / b.settling for a, b in pairs), 3)
        line |= machine.describe()
        add_line("flink_scale", line, keys=("setting", "kind"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="flink_scale", description=__doc__)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    measure(chosen.films, chosen.repeats)
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
