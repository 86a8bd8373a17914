"""Write ``results/history.csv``: every value that the results had in an earlier commit.

``python -m tests.benchmarks.history`` reads the commits of each results file. Lines with a note were written by hand
and are kept.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pandas as pd

from tests.benchmarks.tables import RESULTS
from tests.support.paths import ROOT

HISTORY: Final = RESULTS / "history.csv"
COLUMNS: Final = ("date", "commit", "benchmark", "subject", "kind", "films", "turns", "metric", "value", "note")
#: The columns that name what was measured, and those that were measured, by benchmark.
_MEASURED: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "compare": (("archive", "program"), ("films_per_s", "seconds_over_ours")),
    "scale": ((), ("ms_per_film", "slope", "slope_beyond_first", "peak_mib")),
    "masks_speed": ((), ("ours_ms", "reference_ms")),
    "decode_speed": (("syntax",), ("planned_ms", "full_ms", "pydicom_ms")),
    "plan_scale": (("objects",), ("plan_with_listing_s", "peak_mib")),
    "flink_scale": (("setting",), ("seconds", "settling_films_per_s")),
}


def from_commits() -> Iterator[dict[str, Any]]:
    """Yield a line for each value that a commit added or changed, oldest first."""
    for benchmark, (subject, metrics) in _MEASURED.items():
        path = (RESULTS / f"{benchmark}.csv").relative_to(ROOT).as_posix()
        known: dict[tuple[object, ...], float] = {}
        for commit, date in (line.split() for line in _git("log", "--reverse", "--format=%h %as", "--", path)):
            table = pd.read_csv(io.StringIO("\n".join(_git("show", f"{commit}:{path}"))))
            for row in table.to_dict("records"):
                line = {
                    "date": date,
                    "commit": commit,
                    "benchmark": benchmark,
                    "subject": ", ".join(str(row[name]) for name in subject),
                    "kind": row.get("kind", ""),
                    "films": row.get("films", ""),
                    "turns": row.get("turns", ""),
                }
                for metric in metrics:
                    value = row.get(metric, float("nan"))
                    key = (*(line[name] for name in ("subject", "kind", "films")), metric)
                    if pd.notna(value) and known.get(key) != value:
                        known[key] = value
                        yield {**line, "metric": metric, "value": value, "note": ""}


def _git(*arguments: str) -> list[str]:
    done = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    return done.stdout.splitlines()


if __name__ == "__main__":
    noted = pd.read_csv(HISTORY, dtype=str, keep_default_na=False).query("note != ''")
    table = pd.concat([pd.DataFrame(from_commits()).astype(str), noted])[list(COLUMNS)]
    table.to_csv(HISTORY, index=False)
    sys.stdout.write(f"{HISTORY.name} has {len(table)} lines\n")
