"""`cxr nightly`: one run of the Prefect flow, with or without a server."""

from __future__ import annotations

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, people, print_json
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.options import settings_from


@click.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, metavar="URI", help="Results root: a folder or any URI.")
@click.option("--bundle", help="Model bundle: a name (`cxr models list`) or the URI of one.")
@click.option("--run-id", help="Name of this run; a run of this name that fell is taken up again.")
@click.option("--runner", default="local", show_default=True, help="As for `cxr score`.")
@click.option("--wait", type=float, metavar="SECONDS", help="Wait so long for another run to end.  [default: leave]")
@click.option("--retries", type=click.IntRange(0), default=2, show_default=True, help="Tries after the first.")
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
    """Score what is new under SOURCES as the Prefect flow `nightly`: retried, verified, with a report.

    It needs no Prefect server: without PREFECT_API_URL, Prefect runs its own while the flow runs. Settings other than
    these come from CXR_ environment variables. To have it run every night, see infra/prefect.yaml.
    """
    settings_from({"bundle": bundle, "wait": wait})  # a wrong setting is told before a server is started

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
        people(as_json).print(line)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    return Exit.RETRYABLE if manifest.retryable else Exit.SETTLED
