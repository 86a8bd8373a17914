"""`cxr demo`: try the whole product, without data and without a store."""

from __future__ import annotations

from pathlib import Path

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, print_json, text_console


@click.command(
    epilog="""\b
Examples:
  cxr demo
  cxr demo --films 200 --out /tmp/demo
"""
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="demo", show_default=True, help="Folder for the results."
)
@click.option("--films", type=click.IntRange(1), default=60, show_default=True, help="Films that can be scored.")
@click.option("--bad", type=click.IntRange(0), default=6, show_default=True, help="Objects that cannot.")
@click.option(
    "--seed", type=click.IntRange(0), default=7, show_default=True, help="The same seed makes the same films."
)
@click.option("--side", type=click.IntRange(256), help="Rows and columns of each film.  [default: mixed]")
@json_option
@debug_option
@click.pass_obj
def demo(invocation: Invocation, out: Path, films: int, bad: int, seed: int, side: int | None, as_json: bool) -> None:
    """Try the product in about two minutes: no data, no account, no set-up.

    The demo starts a local S3 server, writes synthetic chest films in many DICOM transfer syntaxes and a few bad
    objects into a bucket, and scores them with Beam in the Prefect flow. It prints the measured percent infected beside
    the true one. The Parquet files stay in --out. A second demo finds every film settled and decodes none.
    """
    from cxrlib.extras import require

    require("cxr demo", "demo")

    from cxr_flows.demo.run_demo import DemoPlan, run_demo
    from cxr_flows.prefect_env import hide_tracebacks

    if not invocation.debug:
        hide_tracebacks()
    manifest = run_demo(DemoPlan(out, films=films, bad=bad, seed=seed, side=side), text_console(as_json))
    if as_json:
        print_json(manifest.model_dump(mode="json"))
