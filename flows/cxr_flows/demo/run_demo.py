"""The demo: score synthetic films in a local S3 bucket with the Prefect flow, and compare with the ground truth."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydicom.uid import UID
from rich.console import Console
from rich.table import Table

from cxr_flows.demo.s3_stub import s3_stub
from cxr_flows.prefect_env import isolate_prefect
from cxr_flows.reports.run import decoded, summary_lines

if TYPE_CHECKING:
    import pandas as pd

    from cxr_schemas import RunManifest

BUCKET: Final = "cxr-demo"
#: Maximum difference between measured and true percent infected that counts as close, in percentage points.
CLOSE_POINTS: Final = 5.0


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """The size of a demo, and the folder of its results.

    Attributes
    ----------
    folder : Path
        Results are stored in ``<folder>/results``. The bucket is deleted when the demo ends.
    films, bad : int
        Number of films that can be scored, and of objects that cannot.
    seed : int
        The same seed makes the same bytes, so that a second demo finds everything settled.
    side : int or None
        Rows and columns of the films, in pixels; None for the mixed sizes of an archive.
    """

    folder: Path
    films: int = 60
    bad: int = 6
    seed: int = 7
    side: int | None = None


def run_demo(plan: DemoPlan, console: Console) -> RunManifest:
    """Run the demo, print its output on `console`, and return the run's manifest."""
    results = plan.folder / "results"
    plan.folder.mkdir(parents=True, exist_ok=True)
    isolate_prefect(plan.folder / "prefect")
    with s3_stub(BUCKET) as bucket:
        began = time.monotonic()
        truth = _fill(bucket, plan)
        syntaxes = truth.loc[truth["film_class"].notna(), "transfer_syntax"].nunique()
        console.print(
            f"1. put {plan.films} synthetic films of {syntaxes} transfer syntaxes and {plan.bad} bad objects into "
            f"{bucket}, a local S3 bucket ({time.monotonic() - began:.0f} s)"
        )
        console.print(f"2. scoring {bucket}/films through the Prefect flow `nightly` and Beam ...")
        from cxr_flows.nightly_flow import nightly  # noqa: PLC0415 - Prefect reads its environment at import

        manifest = nightly([f"{bucket}/films"], str(results))
    show_cohort(str(results), truth, console)
    _close(manifest, results, console)
    return manifest


def _fill(bucket: str, plan: DemoPlan) -> pd.DataFrame:
    """Write the films into the bucket and return the ground truth of each object."""
    import pandas as pd  # noqa: PLC0415 - takes long to import

    from cxrlib.phantom.archive import write_archive  # noqa: PLC0415

    write_archive(bucket, plan.films, seed=plan.seed, rows=plan.side, columns=plan.side, bad=plan.bad)
    return pd.read_parquet(f"{bucket}/truth.parquet")


def show_cohort(results: str, truth: pd.DataFrame, console: Console) -> None:
    """Print the cohort beside the ground truth, then the rejects beside the expected ones."""
    import pandas as pd  # noqa: PLC0415

    from cxrlib.results import cohort  # noqa: PLC0415

    scores = cohort.load(results)
    films = truth[["uri", "percent", "film_class"]].merge(scores, on="uri").sort_values("uri", key=_names)
    console.print(_cohort_table(films))
    console.print(_agreement(films))
    rejects = truth[["uri", "expected"]].merge(pd.read_parquet(f"{results}/rejects"), on="uri")
    console.print(_reject_table(rejects.sort_values("uri", key=_names)))
    surprises = int((rejects["expected"] != rejects["reason"].astype(str)).sum())
    if surprises:
        console.print(f"{surprises} of them were expected to have another outcome")


def _agreement(films: pd.DataFrame) -> str:
    """Return how close the measured percent is to the true one, as text."""
    off = (films["percent_infected"] - films["percent"]).abs().dropna()
    if off.empty:
        return "no percent was measured: the bundle has no infection output, or no film was scored"
    return (
        f"{int((off <= CLOSE_POINTS).sum())} of {len(films)} films are within {CLOSE_POINTS:g} points of the truth; "
        f"the mean error is {off.mean():.1f} points"
    )


def _cohort_table(films: pd.DataFrame) -> Table:
    table = Table(title="Cohort: percent of the lung infected, true against measured", title_justify="left")
    for head in ("film", "transfer syntax", "size"):
        table.add_column(head, no_wrap=True)
    for head in ("true %", "measured %", "left %", "right %"):
        table.add_column(head, justify="right")
    for head in ("true class", "class", "grade"):
        table.add_column(head)
    for film in films.to_dict("records"):
        table.add_row(
            _name(film["uri"]),
            UID(film["transfer_syntax"]).keyword if isinstance(film["transfer_syntax"], str) else film["source_format"],
            f"{film['rows']}x{film['columns']}",
            *(_percent(film[column]) for column in ("percent", "percent_infected", "percent_left", "percent_right")),
            *(_label(film[column]) for column in ("film_class", "class_label", "grade")),
        )
    return table


def _reject_table(rejects: pd.DataFrame) -> Table:
    table = Table("object", "reason", "expected and got", title="Rejects", title_justify="left")
    for reject in rejects.to_dict("records"):
        table.add_row(_name(reject["uri"]), str(reject["reason"]), reject["message"])
    return table


def _close(manifest: RunManifest, results: Path, console: Console) -> None:
    """Print the speed, and where the results are stored."""
    console.print(f"verified: {summary_lines(manifest)[0]}")
    if decoded(manifest):
        console.print(f"{manifest.films_per_second:.1f} films/s over {manifest.seconds_scoring:.1f} s of scoring")
    else:
        console.print(f"all {manifest.counts.listed} objects were settled by an earlier run: nothing was decoded")
    console.print(f"the Parquet files are in {results}/scores and {results}/rejects; read them with\n")
    console.print(f'  import cxrlib.cohort\n  films = cxrlib.cohort.load("{results}")\n')
    console.print("a second demo decodes nothing; delete the folder to start from the beginning")


def _name(uri: str) -> str:
    return uri.rsplit("/", maxsplit=1)[-1]


def _names(uris: pd.Series[str]) -> pd.Series[str]:
    return uris.str.rsplit("/", n=1).str[-1]


def _label(value: object) -> str:
    return value if isinstance(value, str) else "-"


def _percent(percent: float) -> str:
    return "-" if math.isnan(percent) else f"{percent:.1f}"
