"""One and two task managers of Flink, and what Flink costs over the local runner: films a second, in one run.

``tests/cluster/servers/isolated.sh python -m tests.benchmarks.flink_scale`` (``make bench-flink``) starts an S3 server and, for each
setting in turn, a cluster whose machines are held to the cores it names; the SDK workers are pinned with their task
manager. Films are small phantoms, from bucket to bucket. `seconds` is the whole command: the start of the job and of
its workers is in it, that of the cluster is not. `settling` is films a second between the first chunk that is settled
and the last, which no start-up is in. A line per setting goes to ``results/flink_scale.csv``.
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
    """Who works: task managers by the cores of each, or nobody but the local runner on `local`."""

    name: str
    task_managers: tuple[str, ...] = ()
    local: str = ""


SETTINGS: Final = (
    Setting("local runner, 2 cores", local="0,1"),
    Setting("1 task manager, 1 core", ("0",)),
    Setting("1 task manager, 2 cores", ("0,1",)),
    Setting("2 task managers, 1 core each", ("0", "1")),
)
#: Films per chunk: small, so that the last chunks of all workers end together.
_CHUNK: Final = 25


@dataclass(frozen=True)
class Taken:
    """One turn of a setting: the whole command, and films a second from the first settled chunk to the last."""

    seconds: float
    settling: float


def settling(bucket: Bucket, out: str, films: int) -> float:
    """Return films a second between the first settled chunk of a results root and the last, by the store's clock."""
    chunks = bucket.files().find(f"scores/{out}/scores", detail=True).values()
    times = sorted(chunk["LastModified"].timestamp() for chunk in chunks)
    return float((films - _CHUNK) / (times[-1] - times[0]))


def score(folder: Path, setting: Setting, network: Sequence[Host], objects: ObjectStore, out: str) -> tuple[float, int]:
    """Score the films in one setting; return the seconds of the whole command, and how many were scored."""
    own, *others = network
    options: tuple[str, ...] = ()
    used = others[: len(setting.task_managers)]
    cores = setting.task_managers
    with cluster(folder, own, used, objects.owner, cores=cores) if used else nullcontext() as flink:
        if flink is not None:
            # A slot works on one chunk at a time, with as many batches of networks as it has cores.
            beam = flink.beam_options(parallelism=len(used))
            options = ("--runner", "flink", *(f"--beam-option={option}" for option in beam))
        pin = ("taskset", "--cpu-list", setting.local) if setting.local else ()
        what = ("score", "s3://films/bench/films", "--out", f"s3://scores/{out}", "--chunk-size", str(_CHUNK))
        command = (*pin, sys.executable, "-m", "cxr_flows.cli.main", *what, "--quiet", "--json", *options)
        cost = machine.cost_of(command, environment={**os.environ, **objects.owner})
    return cost.seconds, int(json.loads(cost.output)["counts"]["scored"])


def measure(films: int, repeats: int) -> None:
    """Run all settings in turns and put a line of each into the results."""
    taken: dict[str, list[Taken]] = {setting.name: [] for setting in SETTINGS}
    with (
        tempfile.TemporaryDirectory(prefix="cxr-bench-") as name,
        hosts(2) as network,
        object_store(Path(name) / "store", network[0].address) as objects,
    ):
        folder = Path(name)
        bucket = Bucket(folder, objects)
        for made in ("films", "scores"):
            make_bucket(objects, made)
        bucket.make_archive("bench", films, 0)
        for turn in range(repeats):
            for number, setting in enumerate(SETTINGS):
                place = folder / f"{turn}-{number}"
                place.mkdir()
                seconds, scored = score(place, setting, network, objects, f"{turn}-{number}")
                if scored != films:
                    raise RuntimeError(f"{setting.name}: expected {films} films to be scored; got {scored}")
                taken[setting.name].append(Taken(seconds, settling(bucket, f"{turn}-{number}", films)))
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
    """Run it; parameters as ``--help`` says."""
    parser = argparse.ArgumentParser(prog="flink_scale", description=__doc__)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    measure(chosen.films, chosen.repeats)
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
