"""`cxr verify`: check from the stored files alone that every listed object has exactly one outcome."""

from __future__ import annotations

from dataclasses import asdict

import click

from cxr_flows.cli.console import debug_option, json_option, print_json, text_console
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.options import LOCATION


@click.command(
    epilog="""\b
Examples:
  cxr verify ./results
  cxr verify s3://scores --json
"""
)
@click.argument("uri", type=LOCATION)
@json_option
@debug_option
def verify(uri: str, as_json: bool) -> int:
    """Check the results root URI from its stored files alone.

    Three things are checked: every listed object has exactly one outcome (scored, rejected, or a duplicate of another),
    every row was planned, and the counts equal those in the run's manifest. The exit code is 0 if all checks pass, and
    1 otherwise.
    """
    from cxrlib.results.verify import verify as check

    report = check(uri)
    console = text_console(as_json)
    console.print(
        f"{report.runs} runs: {report.listed} listed = {report.scored} scored + {report.rejected} rejected + "
        f"{report.duplicate} duplicate + {report.settled_before} settled before; "
        f"{report.score_rows} score rows and {report.reject_rows} reject rows are stored"
    )
    if report.open_runs:
        console.print(
            f"open runs, not counted (continue one with `cxr score --resume RUN_ID`): {', '.join(report.open_runs)}"
        )
    for problem in report.problems:
        console.print(f"PROBLEM {problem.kind}: {problem.count}, for example {', '.join(problem.examples)}")
    console.print(
        "every listed object has an outcome" if report.ok else f"{len(report.problems)} kinds of problems found"
    )
    if as_json:
        print_json({"ok": report.ok, **asdict(report)})
    return Exit.SETTLED if report.ok else Exit.COULD_NOT_RUN
