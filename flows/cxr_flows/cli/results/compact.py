"""`cxr compact`: a results root as few large sorted files, for sharing and fast scans."""

from __future__ import annotations

from dataclasses import asdict

import click

from cxr_flows.cli.console import debug_option, json_option, people, print_json

EPILOG = """\b
Examples:
  cxr compact s3://scores --out s3://shared/scores-2026
  cxr compact ./results --out ./results-sorted

The copy is a results root like any other: pandas, cxr verify, cxr status and a further cxr score --out take it. Nothing
of it can be read before it is whole. Where a run into URI is under way, the command leaves with exit code 4. Sorting
uses the local disk (TMPDIR).
"""


@click.command(epilog=EPILOG)
@click.argument("uri")
@click.option("--out", required=True, metavar="URI", help="Where the copy is made: an empty folder or prefix.")
@json_option
@debug_option
def compact(uri: str, out: str, as_json: bool) -> None:
    """Copy the results root URI to --out in few large files, sorted by study date; the same rows, byte-reproducible.

    URI is only read. Overlays are not copied.
    """
    from cxrlib.results.compact import compact as copy

    made = copy(uri, out)
    console = people(as_json)
    console.print(
        f"{made.score_rows} score rows and {made.reject_rows} reject rows, from {made.objects_before} objects into "
        f"{made.objects_after} ({made.bytes_after / 1e6:.1f} MB sorted)"
    )
    if made.open_runs:
        console.print(f"not closed, so their chunks are kept as they are: {', '.join(made.open_runs)}")
    if made.overlays_left_out:
        console.print(f"left out: {made.overlays_left_out} overlays")
    console.print(f"copy: {out}")
    if as_json:
        print_json(asdict(made))
