"""`cxr verify`: conservation, checked from the stored files alone."""

from __future__ import annotations

import click

from flows.cli.console import debug_option, json_option


@click.command()
@click.argument("uri")
@json_option
@debug_option
def verify(uri: str, as_json: bool) -> int:
    """Check the results root URI from its stored files alone.

    Every object that a run listed must have exactly one outcome (scored, rejected, or a copy of another), every row
    must have been planned, and the counts must be those of the run's manifest. Ends with 0 where all is well, else 1.
    """
    from cxrlib.verify import verify as check

    report = check(uri)
    raise NotImplementedError(report)
