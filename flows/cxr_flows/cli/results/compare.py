"""`cxr compare`: compare the rows of two bundles for the same films."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cxr_flows.cli.console import debug_option, json_option, print_json, text_console
from cxr_flows.cli.options import LOCATION

if TYPE_CHECKING:
    from rich.console import Console

    from cxrlib.results.compare import Comparison


@click.command(
    epilog="""\b
Examples:
  cxr compare ./results --bundles default-1a2b3c4d default-5e6f7a8b
  cxr compare ./results --bundles v1 v2 --new-at ./results-v2
"""
)
@click.argument("uri", type=LOCATION)
@click.option("--bundles", nargs=2, required=True, metavar="OLD NEW", help="Bundle names, or <name>-<digest8>.")
@click.option("--new-at", type=LOCATION, help="Results root of NEW's rows.  [default: the same URI]")
@click.option("--most", type=click.IntRange(0), default=10, show_default=True, help="Most changed films to name.")
@json_option
@debug_option
def compare(uri: str, bundles: tuple[str, str], new_at: str | None, most: int, as_json: bool) -> None:
    """Compare the rows of two bundles in the results root URI, film by film.

    Films are compared if both bundles scored the same bytes. The output shows a cross table of classes, the mean
    difference and the limits of agreement of percent infected (Bland and Altman), grade transitions, the most changed
    films, and rejects that differ. An object that was replaced between the two runs is named and not compared.
    """
    from cxrlib.results.compare import BundleRows, open_comparison
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.results.selection import require_one_partition

    stores = ResultsRoot.at(uri), ResultsRoot.at(new_at or uri)
    old, new = (
        BundleRows(results, require_one_partition(results, name)) for results, name in zip(stores, bundles, strict=True)
    )
    with open_comparison(old, new, most=most) as (got, _):
        pass
    show(got, text_console(as_json))
    if as_json:
        print_json(plain(got))


def show(got: Comparison, console: Console) -> None:
    """Print a comparison as tables."""
    from rich.table import Table

    from cxr_flows.reports.comparison import comparison_tables, headline

    for text in comparison_tables(got):
        table = Table(*text.heads, title=text.title, title_justify="left")
        for row in text.rows:
            table.add_row(*row)
        console.print(table)
    console.print(headline(got), markup=False)


def plain(got: Comparison) -> dict[str, object]:
    """Return a comparison as plain JSON values."""
    document: dict[str, object] = json.loads(json.dumps(asdict(got)))
    document["outcomes"] = {outcome.value: films for outcome, films in got.outcomes}
    return document
