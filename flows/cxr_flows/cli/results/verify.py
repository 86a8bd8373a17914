"""`cxr verify`: conservation, checked from the stored files alone."""

from __future__ import annotations

from dataclasses import asdict

import click

from cxr_flows.cli.console import debug_option, json_option, people, print_json
from cxr_flows.cli.exit_codes import Exit


@click.command()
@click.argument("uri")
@json_option
@debug_option
def verify(uri: str, as_json: bool) -> int:
    """Check the results root URI from its stored files alone.

    Every object that a run listed must have exactly one outcome (scored, rejected, or a copy of another), every row
    must have been planned, and the counts must be those of the run's manifest. Ends with 0 where all is well, else 1.
    """
    from cxrlib.results.verify import verify as check

    report = check(uri)
    console = people(as_json)
    console.print(
        f"{report.runs} runs: {report.listed} listed = {report.scored} scored + {report.rejected} rejected + "
        f"{report.duplicate} duplicate + {report.settled_before} settled before; "
        f"{report.score_rows} score rows and {report.reject_rows} reject rows are stored"
    )
    if report.open_runs:
        console.print(f"not closed, so not counted (`cxr score --resume RUN_ID`): {', '.join(report.open_runs)}")
    for problem in report.problems:
        console.print(f"PROBLEM {problem.kind}: {problem.count}, such as {', '.join(problem.examples)}")
    console.print("all is accounted for" if report.ok else f"{len(report.problems)} kinds of problem were found")
    if as_json:
        print_json({"ok": report.ok, **asdict(report)})
    return Exit.SETTLED if report.ok else Exit.COULD_NOT_RUN
