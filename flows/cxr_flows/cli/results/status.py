"""`cxr status`: the content of a results root, from its stored files alone."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cxr_flows.cli.console import debug_option, json_option, print_json, text_console
from cxr_flows.cli.options import LOCATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cxrlib.results.status import BackfillStatus, Coverage, Rejected, RunStatus


@click.command(
    epilog="""\b
Examples:
  cxr status ./results
  cxr status s3://scores --json
"""
)
@click.argument("uri", type=LOCATION)
@click.option("--runs", "shown", type=click.IntRange(1), default=20, show_default=True, help="Newest runs to show.")
@json_option
@debug_option
def status(uri: str, shown: int, as_json: bool) -> None:
    """Show the runs, backfills, scored films by study month and bundle, and rejects in the results root URI.

    Only stored files are read, also while a run writes them, and counted as `cxr verify` counts them. A run is settled
    (closed), held (a process holds its lease) or open (continue it: `cxr score --resume RUN_ID`). The next run tries
    waiting rejects again. `--json` prints every run.
    """
    from cxrlib.results.status import status as read

    got = read(uri)
    console = text_console(as_json)
    newest = got.runs[-shown:]
    hidden = len(got.runs) - len(newest)
    console.print(_runs(newest, f"Runs, the newest {len(newest)} of {len(got.runs)}" if hidden else "Runs"))
    for holder in got.holders:
        alive = {True: "running", False: "gone", None: "on another machine"}[holder.alive]
        renewed = f"{holder.renewed_at:%Y-%m-%d %H:%M:%S} UTC by its clock"
        console.print(f"lease: {holder.run_id} on {holder.host}, process {holder.pid} ({alive}), renewed {renewed}")
    if got.backfills:
        console.print(_backfills(got.backfills))
    if got.coverage:
        console.print(_coverage(got.coverage))
    if got.rejects:
        console.print(_rejects(got.rejects))
    console.print(f"{got.score_rows} score rows and {got.reject_rows} reject rows are stored")
    if got.waiting:
        console.print(f"{got.waiting} objects wait for another try: score again")
    different = [run.run_id for run in got.runs if not run.agrees]
    if different:
        console.print(f"rows differ from the manifest, run `cxr verify`: {', '.join(different)}")
    if as_json:
        print_json(json.loads(json.dumps({**asdict(got), "waiting": got.waiting}, default=str)))


def _table(title: str, heads: Sequence[str], numbers: int) -> Table:
    """Return an empty table whose last `numbers` columns are numbers."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for place, head in enumerate(heads):
        table.add_column(head, justify="right" if place >= len(heads) - numbers else "left", no_wrap=True)
    return table


def _runs(runs: Sequence[RunStatus], title: str) -> Table:
    heads = ("Run", "Planned (UTC)", "State", "Bundle", "Settings")
    counts = ("Listed", "Scored", "Rejected", "Duplicate", "Before", "Left", "Films/s")
    table = _table(title, (*heads, *counts), len(counts))
    for run in runs:
        table.add_row(
            run.run_id,
            "" if run.planned_at is None else f"{run.planned_at:%Y-%m-%d %H:%M}",
            run.state.value,
            run.bundle,
            run.config_digest[:8],
            *map(str, (run.listed, run.scored, run.rejected, run.duplicate, run.settled_before, run.left)),
            "" if run.films_per_second is None else f"{run.films_per_second:.1f}",
        )
    return table


def _backfills(backfills: Sequence[BackfillStatus]) -> Table:
    table = _table("Backfills", ("Backfill", "Parts", "Done", "Begun", "Waiting", "Failed", "Objects", "Settled"), 7)
    for backfill in backfills:
        parts = (
            sum(backfill.parts.values()),
            *(backfill.parts.get(stage, 0) for stage in ("done", "begun", "waiting")),
        )
        table.add_row(backfill.backfill_id, *map(str, (*parts, backfill.failed, backfill.objects, backfill.settled)))
    return table


def _coverage(coverage: Sequence[Coverage]) -> Table:
    columns = sorted({(count.bundle, count.config_digest) for count in coverage})
    several = len(columns) > len({bundle for bundle, _ in columns})
    names = [f"{bundle} {config[:8]}" if several else bundle for bundle, config in columns]
    table = _table("Scored films by study month", ("Month", *names), len(names))
    films = {(count.month, count.bundle, count.config_digest): count.films for count in coverage}
    for month in dict.fromkeys(count.month for count in coverage):
        counts = (films.get((month, *column)) for column in columns)
        label = "unknown" if month is None else f"{month:%Y-%m}"
        table.add_row(label, *("" if count is None else str(count) for count in counts))
    return table


def _rejects(rejects: Sequence[Rejected]) -> Table:
    table = _table("Rejects", ("Bundle", "Reason", "Rows", "Waiting"), 2)
    for reject in rejects:
        table.add_row(reject.bundle, reject.reason, str(reject.rows), str(reject.waiting) if reject.waiting else "")
    return table
