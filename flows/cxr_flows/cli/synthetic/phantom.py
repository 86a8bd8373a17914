"""`cxr phantom`: write an archive of synthetic films of any size."""

from __future__ import annotations

from dataclasses import asdict

import click

from cxr_flows.cli.console import debug_option, json_option, print_json, text_console
from cxr_flows.cli.options import LOCATION


@click.command(
    epilog="""\b
Example:
  cxr phantom --count 500 --bad 20 --out ./phantoms
  cxr score ./phantoms/films --out ./results
"""
)
@click.option("--count", type=click.IntRange(1), required=True, help="Films that can be scored.")
@click.option("--out", required=True, type=LOCATION, help="Folder or any URI; films go to URI/films.")
@click.option("--bad", type=click.IntRange(0), default=0, show_default=True, help="Objects that cannot be scored.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed makes the same bytes."
)
@click.option("--rows", type=click.IntRange(64, 3000), help="Rows of each film.  [default: mixed]")
@click.option("--columns", type=click.IntRange(64, 3000), help="Columns of each film.  [default: mixed]")
@click.option("--masks", is_flag=True, help="Also write the true masks to URI/masks, for `cxr evaluate`.")
@click.option("--workers", type=click.IntRange(1), help="Processes that draw films.  [default: one per core]")
@json_option
@debug_option
def phantom(
    count: int,
    out: str,
    bad: int,
    seed: int,
    rows: int | None,
    columns: int | None,
    masks: bool,
    workers: int | None,
    as_json: bool,
) -> None:
    """Write synthetic chest films, with exactly known lungs and infection, as DICOM of many kinds, PNG and JPEG.

    Films go to URI/films, and the ground truth of each to URI/truth.parquet. They are for trials and load tests. They
    do not replace real films for claims of accuracy.
    """
    from cxrlib.extras import require

    require("cxr phantom", "score")
    from cxrlib.phantom.archive import write_archive

    summary = write_archive(out, count, seed=seed, rows=rows, columns=columns, bad=bad, workers=workers, masks=masks)
    text_console(as_json).print(
        f"{summary.films} films of {len(summary.transfer_syntaxes)} transfer syntaxes and {summary.bad} bad objects, "
        f"{summary.bytes / 2**20:.0f} MiB, are in {summary.films_uri}; the ground truth is in {summary.truth_uri}"
    )
    if as_json:
        print_json(asdict(summary))
