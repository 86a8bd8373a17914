"""`cxr nightly`: one run of the Prefect flow `nightly`, with or without a Prefect server."""

from __future__ import annotations

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, print_json, text_console
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.options import BUNDLE_HELP, LOCATION, settings_from

EPILOG = """\b
Examples:
  cxr nightly s3://pacs/ --out s3://scores
  cxr nightly s3://pacs/ --out s3://scores --wait 3600     let another run end first
"""


@click.command(epilog=EPILOG)
@click.argument("sources", nargs=-1, required=True, type=LOCATION)
@click.option("--out", required=True, type=LOCATION, help="Results root: a folder or any URI.")
@click.option("--bundle", type=LOCATION, metavar="BUNDLE", help=BUNDLE_HELP)
@click.option("--run-id", help="Name of the run. An open run with this name is resumed.")
@click.option("--runner", default="local", show_default=True, help="As for `cxr score`.")
@click.option(
    "--wait", type=float, metavar="SECONDS", help="Wait up to SECONDS for another run to end.  [default: exit at once]"
)
@click.option("--retries", type=click.IntRange(0), default=2, show_default=True, help="Tries after the first one.")
@json_option
@debug_option
@click.pass_obj
def nightly(
    invocation: Invocation,
    /,
    sources: tuple[str, ...],
    out: str,
    bundle: str | None,
    run_id: str | None,
    runner: str,
    wait: float | None,
    retries: int,
    as_json: bool,
) -> int:
    """Score new films under SOURCES with the Prefect flow `nightly`: with retries, verification and a report.

    No Prefect server is needed: without PREFECT_API_URL, Prefect runs its own server while the flow runs. All other
    settings come from CXR_ environment variables. To run the flow every night, see infra/prefect.yaml.
    """
    from cxrlib.extras import require

    require("cxr nightly", "flows")
    settings_from({"bundle": bundle, "wait": wait})  # reports a wrong setting before a server starts

    from cxr_flows.nightly_flow import nightly as flow
    from cxr_flows.prefect_env import hide_tracebacks
    from cxr_flows.reports.run import summary_lines

    if not invocation.debug:
        hide_tracebacks()
    manifest = flow(
        list(sources),
        out,
        bundle=bundle,
        run_id=run_id,
        resume=run_id is not None,
        runner=runner,
        wait_s=wait,
        retries=retries,
        debug=invocation.debug,
    )
    for line in summary_lines(manifest):
        text_console(as_json).print(line)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    return Exit.RETRYABLE if manifest.retryable else Exit.SETTLED
