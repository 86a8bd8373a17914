"""The demo: synthetic films in a stand-in bucket, scored through the flow, shown beside their known truth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from flows.quiet import isolate_prefect
from flows.report import decoded
from flows.standin import stand_in_s3

if TYPE_CHECKING:
    import pandas as pd

    from schemas import Manifest

BUCKET: Final = "cxr-demo"
#: Measured percent this close to the true one counts as right.
CLOSE_POINTS: Final = 5.0


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """How big a demo is, and where its results go.

    Attributes
    ----------
    folder : Path
        Results are kept in ``<folder>/results``; the bucket itself is gone when the demo ends.
    films, bad : int
        Films that can be scored, and objects that cannot.
    seed : int
        The same seed makes the same bytes, so a second demo finds everything settled.
    side : int or None
        Rows and columns of the films; None for the mixed sizes of an archive.
    """

    folder: Path
    films: int = 60
    bad: int = 6
    seed: int = 7
    side: int | None = None


def run_demo(plan: DemoPlan, console: Console) -> Manifest:
    """Run the demo, print what it shows on `console`, and return the run's manifest."""
    results = plan.folder / "results"
    plan.folder.mkdir(parents=True, exist_ok=True)
    isolate_prefect(plan.folder / "prefect")
    with stand_in_s3(BUCKET) as bucket:
        began = time.monotonic()
        truth = _fill(bucket, plan)
        syntaxes = truth["transfer_syntax"].nunique()
        console.print(
            f"1. wrote {len(truth)} objects to {bucket}, a stand-in S3 bucket: {syntaxes} transfer syntaxes, "
            f"{plan.bad} objects that are no chest films ({time.monotonic() - began:.0f} s)"
        )
        console.print(f"2. scoring {bucket}/films through the Prefect flow `nightly` and Beam ...")
        from flows.nightly import nightly  # noqa: PLC0415 - Prefect must find its isolated environment

        manifest = nightly([f"{bucket}/films"], str(results))
    _show(results, truth, console)
    _close(manifest, results, console)
    return manifest


def _fill(bucket: str, plan: DemoPlan) -> pd.DataFrame:
    """Write the films into the bucket and return what is true of each object."""
    import pandas as pd  # noqa: PLC0415 - help must not wait for it

    from cxrlib.phantom.archive import write_archive  # noqa: PLC0415

    write_archive(bucket, plan.films, seed=plan.seed, rows=plan.side, columns=plan.side, bad=plan.bad)
    return pd.read_parquet(f"{bucket}/truth.parquet")


def _show(results: Path, truth: pd.DataFrame, console: Console) -> None:
    """Print the cohort beside the truth, then the rejects beside what they should be."""
    import pandas as pd  # noqa: PLC0415

    from cxrlib import cohort  # noqa: PLC0415

    scores = cohort.load(str(results))
    films = truth.merge(scores, on="uri", suffixes=("_true", ""))
    films["off"] = (films["percent_infected"] - films["percent_true"]).abs()
    table = Table(title="Cohort: percent of the lung infected, true against measured", title_justify="left")
    for head in ("film", "transfer syntax", "size"):
        table.add_column(head)
    for head in ("true %", "measured %", "left %", "right %"):
        table.add_column(head, justify="right")
    for head in ("true class", "class", "grade"):
        table.add_column(head)
    for film in films.sort_values("uri").itertuples():
        table.add_row(
            str(film.uri).rsplit("/films/", maxsplit=1)[-1],
            _syntax_name(film.transfer_syntax),
            f"{film.rows}x{film.columns}",
            f"{film.percent_true:.1f}",
            f"{film.percent_infected:.1f}",
            _percent(film.percent_left),
            _percent(film.percent_right),
            str(film.film_class),
            str(film.class_label),
            str(film.grade),
        )
    console.print(table)
    close = int((films["off"] <= CLOSE_POINTS).sum())
    console.print(
        f"{close} of {len(films)} films are within {CLOSE_POINTS:g} points of the truth; "
        f"the mean error is {films['off'].mean():.1f} points"
    )
    rejects = pd.read_parquet(results / "rejects")
    table = Table(title="Rejects", title_justify="left")
    for head in ("object", "reason", "expected", "message"):
        table.add_column(head)
    for reject in truth.merge(rejects, on="uri").sort_values("uri").itertuples():
        name = str(reject.uri).rsplit("/films/", maxsplit=1)[-1]
        table.add_row(name, str(reject.reason), str(reject.expected), str(reject.message))
    console.print(table)


def _close(manifest: Manifest, results: Path, console: Console) -> None:
    """Print how fast it was, and where the results lie."""
    if decoded(manifest):
        console.print(f"{manifest.films_per_second:.1f} films/s over {manifest.seconds_scoring:.1f} s of scoring")
    else:
        console.print(f"all {manifest.counts.listed} objects were settled by an earlier run: nothing was decoded")
    console.print(f"the Parquet lies in {results}/scores and {results}/rejects; read it with\n")
    console.print(f'  import cxrlib.cohort\n  films = cxrlib.cohort.load("{results}")\n')
    console.print("run the demo again and nothing is decoded; remove the folder to start anew")
