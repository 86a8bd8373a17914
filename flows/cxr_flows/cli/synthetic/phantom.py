"""`cxr phantom`: an archive of synthetic films of any size."""

from __future__ import annotations

from dataclasses import asdict

import click

from cxr_flows.cli.console import debug_option, json_option, people, print_json


@click.command()
@click.option("--count", type=click.IntRange(1), required=True, help="Films that can be scored.")
@click.option("--out", required=True, metavar="URI", help="Folder or any URI; films go to URI/films.")
@click.option("--bad", type=click.IntRange(0), default=0, show_default=True, help="Objects that cannot be scored.")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed makes the same bytes."
)
@click.option("--rows", type=click.IntRange(64, 3000), help="Rows of each film.  [default: mixed]")
@click.option("--columns", type=click.IntRange(64, 3000), help="Columns of each film.  [default: mixed]")
@click.option("--masks", is_flag=True, help="Also write the true masks, to URI/masks, as `cxr evaluate` needs them.")
@click.option("--workers", type=click.IntRange(1), help="Processes that draw.  [default: one a core]")
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
    """Write synthetic chest films with exactly known lungs and infection, as DICOM of every kind, PNG and JPEG.

    Films go to URI/films, and what is true of each to URI/truth.parquet. They are for trying things out and for load
    tests; they are no substitute for real films where accuracy is claimed.

    \b
    Example:
      cxr phantom --count 500 --bad 20 --out ./phantoms
      cxr score ./phantoms/films --out ./results
    """
    from cxrlib.phantom.archive import write_archive

    summary = write_archive(out, count, seed=seed, rows=rows, columns=columns, bad=bad, workers=workers, masks=masks)
    people(as_json).print(
        f"{summary.films} films of {len(summary.transfer_syntaxes)} transfer syntaxes and {summary.bad} bad objects, "
        f"{summary.bytes / 2**20:.0f} MiB, are in {summary.films_uri}; the truth is in {summary.truth_uri}"
    )
    if as_json:
        print_json(asdict(summary))
