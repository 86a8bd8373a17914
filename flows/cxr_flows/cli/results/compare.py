"""`cxr compare`: what two bundles say of the same films."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cxr_flows.cli.console import debug_option, json_option, people, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from cxrlib.results.compare import Comparison


@click.command()
@click.argument("uri")
@click.option("--bundles", nargs=2, required=True, metavar="OLD NEW", help="Names, or <name>-<digest8> of one version.")
@click.option("--new-at", metavar="URI", help="Results root of NEW's rows.  [default: URI too]")
@click.option("--most", type=click.IntRange(0), default=10, show_default=True, help="Films named as most changed.")
@json_option
@debug_option
def compare(uri: str, bundles: tuple[str, str], new_at: str | None, most: int, as_json: bool) -> None:
    """Compare the rows of two bundles in the results root URI, film by film.

    Films are compared where both scored the same bytes: class changes as a cross table, percent infected by mean
    difference and limits of agreement (Bland and Altman), grade transitions, the films that changed most, and rejects
    that differ. An object that was replaced between the two is named, not compared.
    """
    from cxrlib.results.compare import Side, compared
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.results.selection import the_bundle

    stores = ResultsRoot.at(uri), ResultsRoot.at(new_at or uri)
    old, new = (Side(results, the_bundle(results, name)) for results, name in zip(stores, bundles, strict=True))
    with compared(old, new, most=most) as (got, _):
        pass
    show(got, people(as_json))
    if as_json:
        print_json(plain(got))


def show(got: Comparison, console: Console) -> None:
    """Print a comparison as tables."""
    from rich.table import Table

    from cxr_flows.reports.comparison import headline, sheets

    for sheet in sheets(got):
        table = Table(*sheet.heads, title=sheet.title, title_justify="left")
        for row in sheet.rows:
            table.add_row(*row)
        console.print(table)
    console.print(headline(got), markup=False)


def plain(got: Comparison) -> dict[str, object]:
    """Return a comparison as plain JSON values."""
    document: dict[str, object] = json.loads(json.dumps(asdict(got)))
    document["outcomes"] = {outcome.value: films for outcome, films in got.outcomes}
    return document
