"""Measure the processor time of each part of `cxr score`, and which parts are in the limit.

``python -m tests.benchmarks.parts --archive native`` runs the whole command on an archive. Then it measures each part
alone in one thread: the steps of reading with Python's profiler, by function (which overstates functions with many
calls), the other parts by processor time. The last line is the rest of the whole: Beam, rows and Parquet, and the time
that steps lose when they share caches with others. A line per part goes to ``results/parts.csv``.
"""

from __future__ import annotations

import argparse
import cProfile
import inspect
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

from cxrlib.archive.fetch import fetch
from cxrlib.film_steps import FilmReader, ScoringParameters
from cxrlib.models.bundle import load_bundle
from cxrlib.parallel.cores import NO_BLAS_THREADS
from cxrlib.parallel.malloc_settings import MALLOC_FOR_DECODING, MALLOC_FOR_NETWORKS
from cxrlib.reading.dicom.display import display_of
from cxrlib.reading.dicom.eligibility import check_eligible
from cxrlib.reading.dicom.facts import facts_of
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.orientation import placement_of
from cxrlib.reading.dicom.pixels import stored_values
from cxrlib.reading.dicom.view import projection_of
from cxrlib.reading.display import grayscale
from cxrlib.reading.display.polarity import is_negative
from cxrlib.reading.halving import halve
from cxrlib.reading.raster import read_png
from cxrlib.reading.truncation import check_truncation
from cxrlib.reading.whole_film_checks import check_reduced_truncation
from cxrlib.settings import Settings
from cxrlib.types import CxrImage, ImageRef
from tests.benchmarks import machine
from tests.benchmarks.archives import ARCHIVES, DISTINCT, make_archive
from tests.benchmarks.limit import forward_cost
from tests.benchmarks.masks_speed import ours, predictions
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

_SCORING_PROCESS: Final = """\
import gc
from cxr_pipelines.jobs.child_main import GC_THRESHOLDS
gc.set_threshold(*GC_THRESHOLDS)
import cxr_pipelines.score
import cxr_pipelines.beam.run_graph
from cxrlib.models.inference.choose_engine import load_engine
from cxrlib.models.bundle import load_bundle
load_engine(load_bundle("default"), device="cpu")
"""
#: What the processes of `cxr score` import and load: the command, the scoring process, and the reading processes.
_STARTED: Final = (
    ("import cxr_flows.cli.main", {}),
    (_SCORING_PROCESS, {**NO_BLAS_THREADS, **MALLOC_FOR_NETWORKS}),
    *[("import cxrlib.film_steps", MALLOC_FOR_DECODING)] * machine.cores(),
)
#: The functions of each step of reading; none of them calls another. A string is the profiler's name of a C function.
READING_STEPS: Final[dict[str, tuple[Callable[..., object] | str, ...]]] = {
    "fetch": (fetch,),
    "digest": ("<built-in method _hashlib.openssl_sha256>",),
    "header": (open_dicom, projection_of, check_eligible, placement_of, display_of, facts_of),
    "codec": (stored_values, read_png),
    "halving": (halve,),
    "grey values mapped": (grayscale._Film._table,),
    "looked up and averaged": (grayscale._Film._through, grayscale._Film.cells),
    "cut films looked for": (check_truncation, check_reduced_truncation),
    "negatives looked for": (is_negative,),
}
_IN_LIMIT: Final = ("networks", "digest", "codec", "halving", "looked up and averaged")


def measure(name: str, films: int) -> None:
    """Measure the parts of one archive and write their lines to the results."""
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
    """Return the processor seconds of all imports and of loading the networks."""
    return sum(
        machine.cost_of([sys.executable, "-c", statement], environment=environment).cpu_seconds
        for statement, environment in _STARTED
    )


def _networks() -> Mapping[str, float]:
    """Return the seconds per film in the networks, measured under the malloc settings of a scoring process."""
    return machine.figures_of("tests.benchmarks.parts", "--networks", environment=MALLOC_FOR_NETWORKS)


def _reading(archive: Path) -> Mapping[str, float]:
    """Return the seconds per film of each step of reading, measured under the malloc settings of a reading process."""
    return machine.figures_of("tests.benchmarks.parts", "--reading", str(archive), environment=MALLOC_FOR_DECODING)


def measure_reading(archive: Path) -> dict[str, float]:
    """Return the seconds per film of each step of reading, of the rest, and of pickling, measured in this process."""
    read = FilmReader(Settings(), ScoringParameters.of(load_bundle("default").card))
    paths = sorted(path for path in archive.rglob("*") if path.is_file())[:DISTINCT]
    refs = [ImageRef(str(path), f"size:{path.stat().st_size}", path.stat().st_size) for path in paths]
    images = [read(ref) for ref in refs]
    if not all(isinstance(image, CxrImage) for image in images):
        raise ValueError(f"expected readable films; got {images}")
    profile = cProfile.Profile()  # wall time: asking for processor time costs more than most of the calls
    profile.runcall(lambda: [read(ref) for ref in refs])
    found = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    cumulative = {key: entry[3] / len(refs) for key, entry in found.items()}
    parts = {
        part: sum(cumulative.get(_profile_key(function), 0.0) for function in functions)
        for part, functions in READING_STEPS.items()
    }
    whole = cumulative[_profile_key(FilmReader.__call__)]
    pickling = _seconds(lambda: [pickle.loads(pickle.dumps(image)) for image in images]) / len(images)  # noqa: S301
    return {**parts, "rest of reading": whole - sum(parts.values()), "handing over": pickling}


def _profile_key(function: Callable[..., object] | str) -> tuple[str, int, str]:
    """Return the key of a function in the statistics of Python's profiler."""
    if isinstance(function, str):
        return "~", 0, function
    code = inspect.unwrap(function).__code__
    return code.co_filename, code.co_firstlineno, code.co_name


def _measuring() -> float:
    """Return the seconds per film of masks, percentages, grades and run lengths."""
    card, films = load_bundle("default").card, predictions(DISTINCT)
    return _seconds(lambda: [ours(film, card) for film in films]) / len(films)


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
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
        sys.stdout.write(json.dumps(measure_reading(chosen.reading)) + "\n")
        return 0
    for name in chosen.archive or ARCHIVES:
        measure(name, chosen.films)
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
