"""Where the processor time of `cxr score` goes, by name: the parts that are in the limit, and those that are not.

``python -m tests.benchmarks.parts --archive native`` runs the whole command on an archive, and measures each of its
parts alone and in one thread: the steps of reading under Python's own profiler, by the function that does them (those
of many calls look dearer there than they are), the others by the processor's clock. What the whole takes beyond all of
them is a line of its own: Beam, the rows and their Parquet, and that steps take longer beside others, which want the
same caches. A line per part goes to ``results/parts.csv``.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pickle
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2

from cxrlib.film_steps import FilmReader, ScoringParameters
from cxrlib.models.bundle import load_bundle
from cxrlib.parallel.cores import NO_BLAS_THREADS
from cxrlib.parallel.malloc_settings import MALLOC_FOR_DECODING, MALLOC_FOR_NETWORKS
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef
from tests.benchmarks import machine
from tests.benchmarks.archives import ARCHIVES, DISTINCT, make_archive
from tests.benchmarks.limit import forward_cost
from tests.benchmarks.masks_speed import ours, predictions
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

#: What `cxr score` imports and loads, by the process that does: the command, the one that scores, and those that read.
_STARTED: Final = (
    ("import cxr_flows.cli.main", {}),
    (
        "import gc; from cxr_pipelines.jobs.child_main import GC_THRESHOLDS; gc.set_threshold(*GC_THRESHOLDS); import cxr_pipelines.score; "
        "import cxr_pipelines.beam.run_graph; from cxrlib.models.inference.engine import Engine; from cxrlib.models.bundle import load_bundle; "
        "Engine(load_bundle('default'), keep=True)",
        {**NO_BLAS_THREADS, **MALLOC_FOR_NETWORKS},
    ),
    *[("import cxrlib.film_steps", MALLOC_FOR_DECODING)] * machine.cores(),
)
#: The steps of reading, by the end of the file and the name of the function that does them; none calls another.
_READING: Final = {
    "fetch": (("archive/fetch.py", "fetch"),),
    "digest": (("", "<built-in method _hashlib.openssl_sha256>"),),
    "header": (
        ("reading/dicom.py", "open_dicom"),
        ("reading/eligible.py", "refuse"),
        ("reading/dicom_film.py", "display_of"),
        ("reading/dicom_film.py", "_facts"),
    ),
    "codec": (("reading/pixels.py", "stored_values"), ("reading/raster.py", "read_png")),
    "halving": (("reading/halving.py", "halve"),),
    "grey values mapped": (("reading/display.py", "_table"),),
    "looked up and averaged": (("reading/display.py", "_through"), ("reading/display.py", "cells")),
    "cut films looked for": (("reading/tail.py", "check_tail"), ("reading/doubt.py", "check_foot")),
    "negatives looked for": (("reading/polarity.py", "is_negative"),),
}
_IN_LIMIT: Final = ("networks", "digest", "codec", "halving", "looked up and averaged")


def measure(name: str, films: int) -> None:
    """Measure the parts of one archive and put their lines into the results."""
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        archive = make_archive(Path(folder) / "archive", ARCHIVES[name], films)
        command = [
            sys.executable,
            "-m",
            "cxr_flows.cli.main",
            "score",
            str(archive),
            "--out",
            f"{folder}/out",
            "--quiet",
        ]
        whole = machine.cost_of(command)
        parts = {"start-up": _start_up() / films, **_networks(), **_reading(archive), "masks": _measuring()}
    parts["Beam, rows, and caches shared"] = whole.cpu_seconds / films - sum(parts.values())
    for part, seconds in parts.items():
        line = {
            "archive": name,
            "part": part,
            "films": films,
            "ms_per_film": round(1000 * seconds, 3),
            "share": round(seconds * films / whole.cpu_seconds, 4),
            "in_limit": part in _IN_LIMIT,
            "whole_s": round(whole.seconds, 2),
            "busy_share": round(whole.cpu_seconds / whole.seconds / machine.cores(), 3),
            **machine.describe(),
        }
        add_line("parts", line, keys=("archive", "part", "kind"))


def _start_up() -> float:
    """Return the processor seconds of all imports, and of loading the networks."""
    return sum(
        machine.cost_of([sys.executable, "-c", statement], environment=environment).cpu_seconds
        for statement, environment in _STARTED
    )


def _networks() -> Mapping[str, float]:
    """Return the seconds a film takes in the networks, in a process that keeps memory as one that scores does."""
    return machine.said_by("tests.benchmarks.parts", "--networks", environment=MALLOC_FOR_NETWORKS)


def _reading(archive: Path) -> Mapping[str, float]:
    """Return the seconds a film takes in each step of reading, in a process that keeps memory as those that read do."""
    return machine.said_by("tests.benchmarks.parts", "--reading", str(archive), environment=MALLOC_FOR_DECODING)


def read_here(archive: Path) -> dict[str, float]:
    """Return the same of this process."""
    read = FilmReader(Settings(), ScoringParameters.of(load_bundle("default").card))
    paths = sorted(path for path in archive.rglob("*") if path.is_file())[:DISTINCT]
    refs = [ImageRef(str(path), f"size:{path.stat().st_size}", path.stat().st_size) for path in paths]
    images = [read(ref) for ref in refs]
    if not all(isinstance(image, CxrImage) for image in images):
        raise ValueError(f"expected films that can be read; got {images}")
    profile = cProfile.Profile()  # by the clock: to ask for processor time costs more than most of the calls
    profile.runcall(lambda: [read(ref) for ref in refs])
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    cumulative = {key: entry[3] / len(refs) for key, entry in found.items()}
    parts = {
        part: sum(
            seconds
            for (file, _, function), seconds in cumulative.items()
            if any(file.endswith(end) and function == wanted for end, wanted in steps)
        )
        for part, steps in _READING.items()
    }
    (whole,) = (
        seconds
        for (file, _, function), seconds in cumulative.items()
        if file.endswith("cxrlib/film_steps.py") and function == "__call__"
    )
    handing = _seconds(lambda: [pickle.loads(pickle.dumps(image)) for image in images]) / len(images)  # noqa: S301
    return {**parts, "rest of reading": whole - sum(parts.values()), "handing over": handing}


def _measuring() -> float:
    """Return the seconds that masks, percentages, grades and run lengths of a film take."""
    card, films = load_bundle("default").card, predictions(DISTINCT)
    return _seconds(lambda: [ours(film, card) for film in films]) / len(films)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; parameters as ``--help`` says."""
    parser = argparse.ArgumentParser(prog="parts", description=__doc__)
    parser.add_argument("--archive", action="append", choices=sorted(ARCHIVES), help="may be repeated; all by default")
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--reading", type=Path, help="measure the steps of reading on this folder alone, as JSON")
    parser.add_argument("--networks", action="store_true", help="measure the networks alone, as JSON")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    if chosen.networks:
        sys.stdout.write(json.dumps({"networks": forward_cost()}) + "\n")
        return 0
    if chosen.reading is not None:
        sys.stdout.write(json.dumps(read_here(chosen.reading)) + "\n")
        return 0
    for name in chosen.archive or ARCHIVES:
        measure(name, chosen.films)
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
