"""Compare `cxr score` with three rival programs and with the computed limit, on each archive.

``python -m tests.benchmarks.compare --films 2000`` (``make bench FILMS=2000``) writes each archive and tries the
options of every rival on a tenth of it. Then it runs all programs in turns, each in a fresh process, `--repeats`
times. A line per archive, program and number of films goes to ``results/compare.csv``: medians, and ratios taken turn
by turn. Every figure includes start-up: with 2,000 films a tenth of it where nothing is decoded, a twentieth elsewhere.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from cxrlib.parallel.malloc_settings import MALLOC_FOR_NETWORKS
from tests.benchmarks import machine
from tests.benchmarks.archives import ARCHIVES, DISTINCT, make_archive
from tests.benchmarks.machine import Cost
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

OURS = "cxr score"
#: Each limit and the parts that add up to it, by their names in `tests.benchmarks.limit`.
LIMITS: Final = {
    "limit": ("forward", "codec", "resize", "digest"),
    "limit by libraries": ("forward_by_torch", "codec_by_libraries", "resize_by_libraries", "digest"),
}
_KEYS: Final = ("archive", "program", "films", "kind")
_LABELS: Final = ("covid19", "pneumonia", "normal")
_AGREEMENT: Final = ("rows", "rows_ours", "same_class_share", "percent_difference_median")


@dataclass(frozen=True, slots=True)
class Program:
    """A program to run on an archive.

    Attributes
    ----------
    command : tuple of str
        Command line before the folder of films and the folder of results.
    options : tuple of tuple of str
        Sets of options to try; the fastest on a tenth of the archive is used.
    """

    command: tuple[str, ...]
    options: tuple[tuple[str, ...], ...] = ((),)


def _rival(name: str, *options: str) -> Program:
    grid = tuple(tuple(f"{choice} {precision}".split()) for precision in ("--bf16", "") for choice in options)
    return Program((sys.executable, "-m", f"tests.benchmarks.rivals.{name}"), grid)


RIVALS: Final = {
    "PyTorch DataLoader": _rival("dataloader", "--workers 1 --threads 1", "--workers 2 --threads 1", "--workers 2"),
    "Ray Data": _rival("ray_data", "--decoders 1 --threads 1", "--decoders 2 --threads 1", "--decoders 2"),
    "Beam RunInference": _rival("beam_segmentation", "--workers 1", "--workers 2 --threads 1"),
}


@dataclass(slots=True)
class Turns:
    """The costs of a program, turn by turn; those of a limit are computed and have no memory."""

    options: tuple[str, ...] = ()
    costs: list[Cost] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Wall seconds of each turn."""
        return [cost.seconds for cost in self.costs]


def run_program(name: str, options: Sequence[str], films: Path, out: Path) -> Cost:
    """Run one program on a folder of films; empty the folder of results first."""
    shutil.rmtree(out, ignore_errors=True)
    if name == OURS:
        command = [sys.executable, "-m", "cxr_flows.cli.main", "score", str(films), "--out", str(out), "--quiet"]
        return machine.cost_of(command)
    return machine.cost_of([*RIVALS[name].command, str(films), str(out), *options])


def limit_parts(films: Path) -> Mapping[str, float]:
    """Return the processor seconds per film of forward pass, codec and resize, each in two ways, and of the digest."""
    return machine.figures_of("tests.benchmarks.limit", str(films), environment=MALLOC_FOR_NETWORKS)


def limit_cost(limit: str, parts: Mapping[str, float], count: int) -> Cost:
    """Return the cost of the parts of a limit for `count` films, spread over all cores."""
    own = {part: parts[part] for part in LIMITS[limit]}
    cpu = count * sum(own.values())
    return Cost(cpu / machine.cores(), cpu, 0.0, json.dumps(own))


def tune(name: str, films: Path, out: Path) -> tuple[str, ...]:
    """Return the fastest of a rival's options on a few films; skip options that fail."""
    seconds = {}
    for options in RIVALS[name].options:
        try:
            seconds[options] = run_program(name, options, films, out).seconds
        except subprocess.SubprocessError as error:
            sys.stderr.write(f"{name} {' '.join(options)}: {error}\n")
    if not seconds:
        raise RuntimeError(f"{name}: expected one of its options to work; got none")
    return min(seconds, key=lambda options: seconds[options])


def rows_of(name: str, out: Path) -> pd.DataFrame:
    """Return class label and percent infected of every row that a program wrote, indexed by uri."""
    if name == OURS:
        # The cohort loader would drop copies, and most films of these archives are links to the same file.
        films = pd.read_parquet(out / "scores", columns=["uri", "class_label", "percent_infected"])
        label = films["class_label"].astype(str)
    else:
        films = pd.concat(pd.read_parquet(path) for path in sorted(out.glob("*.parquet")))
        label = films[[f"p_{of}" for of in _LABELS]].idxmax(axis=1).str.removeprefix("p_")
    uri = films["uri"].str.removeprefix("file://")
    return pd.DataFrame({"label": label.to_numpy(), "percent": films["percent_infected"].to_numpy()}, index=uri)


def agreement(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, object]:
    """Compare the rows of a rival with ours: number of films, class, percent infected."""
    both = ours.merge(theirs, left_index=True, right_index=True, suffixes=("", "_theirs"))
    return {
        "rows": len(theirs),
        "rows_ours": len(ours),
        "same_class_share": round(float((both["label"] == both["label_theirs"]).mean()), 4),
        "percent_difference_median": round(float((both["percent"] - both["percent_theirs"]).abs().median()), 3),
    }


def compare(name: str, films: int, repeats: int, rivals: Sequence[str]) -> None:
    """Measure one archive and write its lines to the results."""
    with tempfile.TemporaryDirectory(prefix="cxr-bench-") as folder:
        archive = make_archive(Path(folder) / "archive", ARCHIVES[name], films)
        sample = make_archive(Path(folder) / "some", ARCHIVES[name], max(films // 10, DISTINCT))
        out = Path(folder) / "out"
        turns = {OURS: Turns(), **{rival: Turns(tune(rival, sample, out)) for rival in rivals}}
        limits = {limit: Turns() for limit in LIMITS}
        rows: dict[str, pd.DataFrame] = {}
        for _ in range(repeats):
            for program, so_far in turns.items():
                so_far.costs.append(run_program(program, so_far.options, archive, out))
                rows.setdefault(program, rows_of(program, out))
            parts = limit_parts(archive)
            for limit, so_far in limits.items():
                so_far.costs.append(limit_cost(limit, parts, films))
    for program, so_far in (turns | limits).items():
        add_line("compare", _line(name, films, program, turns=so_far, ours=turns[OURS], rows=rows), keys=_KEYS)


def _line(
    archive: str, films: int, program: str, *, turns: Turns, ours: Turns, rows: Mapping[str, pd.DataFrame]
) -> dict[str, object]:
    seconds = statistics.median(turns.seconds)
    ratios = [theirs / own for theirs, own in zip(turns.seconds, ours.seconds, strict=True)]
    agreed = agreement(rows[OURS], rows[program]) if program in rows else dict.fromkeys(_AGREEMENT, "")
    return {
        "archive": archive,
        "program": program,
        "options": " ".join(turns.options),
        "films": films,
        "turns": len(turns.costs),
        "seconds": round(seconds, 2),
        "films_per_s": round(films / seconds, 2),
        "seconds_over_ours": round(statistics.median(ratios), 3),
        "ratio_least": round(min(ratios), 3),
        "ratio_most": round(max(ratios), 3),
        "cpu_s": round(statistics.median(cost.cpu_seconds for cost in turns.costs), 2),
        "peak_mib": round(max(cost.peak_mib for cost in turns.costs)),
        "parts_s": turns.costs[0].output.strip() if program in LIMITS else "",
        **agreed,
        **machine.describe(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="compare", description=__doc__)
    parser.add_argument("--films", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--archive", action="append", choices=sorted(ARCHIVES), help="may be repeated; all by default")
    parser.add_argument("--rival", action="append", choices=sorted(RIVALS), help="may be repeated; all by default")
    parser.add_argument("--limit-only", action="store_true", help="no rivals: `cxr score` and the limit alone")
    chosen = parser.parse_args(arguments)
    rivals = [] if chosen.limit_only else chosen.rival or list(RIVALS)
    for name in chosen.archive or ARCHIVES:
        compare(name, chosen.films, chosen.repeats, rivals)
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
