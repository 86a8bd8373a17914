"""`cxr compact`: copy a results root into a few large sorted files, for sharing and fast scans."""

from __future__ import annotations

from dataclasses import asdict

import click

from cxr_flows.cli.console import debug_option, json_option, print_json, text_console
from cxr_flows.cli.options import LOCATION

EPILOG = """\b
Examples:
  cxr compact s3://scores --out s3://shared/scores-2026
  cxr compact ./results --out ./results-sorted

The copy is a complete results root: use it with pandas, cxr verify, cxr status and cxr score --out. It becomes readable
only when it is complete. While a run writes into URI, the command ends with exit code 4. Sorting uses the local disk
(TMPDIR).
"""


@click.command(epilog=EPILOG)
@click.argument("uri", type=LOCATION)
@click.option("--out", required=True, type=LOCATION, help="Target of the copy: an empty folder or prefix.")
@json_option
@debug_option
def compact(uri: str, out: str, as_json: bool) -> None:
    """Copy the results root URI to --out, in a few large files sorted by study date.

    The rows stay the same, and the same rows give the same bytes. URI is not changed. Overlays are not copied.
    """
    from cxrlib.results.compact import compact as copy

    made = copy(uri, out)
    console = text_console(as_json)
    console.print(
        f"{made.score_rows} score rows and {made.reject_rows} reject rows, from {made.objects_before} objects into "
        f"{made.objects_after} ({made.bytes_after / 1e6:.1f} MB sorted)"
    )
    if made.open_runs:
        console.print(f"open runs, whose chunks are copied unchanged: {', '.join(made.open_runs)}")
    if made.overlays_left_out:
        console.print(f"left out: {made.overlays_left_out} overlays")
    console.print(f"copy: {out}")
    if as_json:
        print_json(asdict(made))
