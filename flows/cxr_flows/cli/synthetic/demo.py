"""`cxr demo`: the whole product at work, with no data and no store of yours."""

from __future__ import annotations

from pathlib import Path

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, people, print_json


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default="demo", show_default=True, help="Folder that keeps the results."
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
    """See it all work in about two minutes: no data, no account, nothing to set up.

    A stand-in S3 server is started on this machine, synthetic chest films of many DICOM transfer syntaxes and a few
    bad objects are put into a bucket, the Prefect flow scores them with Beam, and the measured percent infected is
    shown beside the true one. The Parquet stays in --out. Run it again: nothing is decoded a second time.
    """
    try:
        import moto  # noqa: F401
    except ImportError as error:
        from cxrlib.errors import UsageError

        raise UsageError('the demo needs its stand-in server: pip install "cxr-batch[demo]"') from error
    from cxr_flows.demo.run_demo import DemoPlan, run_demo
    from cxr_flows.prefect_env import hide_tracebacks

    if not invocation.debug:
        hide_tracebacks()
    manifest = run_demo(DemoPlan(out, films=films, bad=bad, seed=seed, side=side), people(as_json))
    if as_json:
        print_json(manifest.model_dump(mode="json"))
