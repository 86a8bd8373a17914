"""`cxr backfill`: score an archive of any size in parts, each part a run of its own."""

from __future__ import annotations

from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from cxr_flows.cli.console import Invocation, debug_option, json_option, print_json, text_console
from cxr_flows.cli.options import LOCATION, runner_with, setting_options, settings_from
from cxr_flows.cli.scoring.run_backfill import check_runner, exit_code_of, run_backfill, show_dry_run

EPILOG: Final = """\b
Examples:
  cxr backfill s3://pacs/ --out s3://scores --by month --dry-run     its parts and its time
  cxr backfill s3://pacs/ --out s3://scores --by month --id archive --parallel 4
  cxr backfill pause archive --out s3://scores                       from any machine
  cxr backfill resume archive --out s3://scores
  cxr backfill resume archive --out s3://scores --retry-failed       only the failed parts
  cxr backfill show archive --out s3://scores

`cxr backfill SOURCES ...` is short for `cxr backfill start SOURCES ...`: see `cxr backfill start --help`.
"""

_OUT_HELP: Final = "Results root of the backfill."
#: Options of a run that a backfill lacks: it waits for other runs without a limit, and lets waiting runs go first.
_OPTIONS_OF_RUNS: Final = frozenset({"wait"})


class _StartByDefault(click.Group):
    """Runs ``start`` if the first argument is not a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return start.shell_complete(ctx, incomplete)
        return super().shell_complete(ctx, incomplete)


@click.group(cls=_StartByDefault, epilog=EPILOG)
def backfill() -> None:
    """Score an archive of any size in parts. Several parts run at once; pause and resume at any time.

    Each part is a run with its own plan and manifest. Another run into the same results root that waits
    (`cxr nightly --wait SECONDS`) goes first, and the backfill continues after it.
    """


def _work_options(command: Any) -> Any:
    """Add the options that control how the parts are scored to a command."""
    options = (
        click.option("--parallel", type=click.IntRange(1), default=1, show_default=True, help="Parts at once."),
        click.option(
            "--retries",
            type=click.IntRange(0),
            default=1,
            show_default=True,
            help="Tries after the first.",
        ),
        click.option("--runner", help="As for `cxr score`; each part is one job.  [default: local]"),
        click.option(
            "--workers", type=click.IntRange(1), help="Worker processes of each part on the local runner.  [default: 1]"
        ),
        click.option("--beam-option", "beam_options", multiple=True, metavar="OPTION", help="As for `cxr score`."),
        click.option("--quiet", is_flag=True, help="Show no progress."),
        json_option,
        debug_option,
        click.pass_obj,
    )
    for option in reversed(options):
        command = option(command)
    return command


@backfill.command(
    epilog="""\b
Examples:
  cxr backfill start s3://pacs/ --out s3://scores --by month --id archive --parallel 4
  cxr backfill start ./films --out ./results --part-size 10000 --dry-run
"""
)
@click.argument("sources", nargs=-1, required=True, type=LOCATION)
@click.option("--out", required=True, type=LOCATION, help="Results root: a folder or any URI.")
@click.option("--id", "backfill_id", help="Name of the backfill.  [default: date and random digits]")
@click.option(
    "--by",
    type=click.Choice(["count", "prefix", "year", "month", "day"]),
    default="count",
    show_default=True,
    help="Cut by number of objects, by folder, or by the study date in folder names.",
)
@click.option(
    "--part-size",
    type=click.IntRange(1),
    help="Maximum objects per part; larger parts are cut again.  [default: 50000]",
)
@click.option("--parts", type=click.IntRange(1), help="With --by count: cut into this many parts of equal size.")
@click.option("--depth", type=click.IntRange(1), default=1, show_default=True, help="With --by prefix: folder levels.")
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    default="newest",
    show_default=True,
    help="Order of the parts, by date or name.",
)
@click.option("--dry-run", is_flag=True, help="Only show the parts, and estimate the time by scoring a sample.")
@click.option(
    "--sample", type=click.IntRange(1), default=1024, show_default=True, help="Maximum films that a dry run scores."
)
@setting_options
@_work_options
def start(invocation: Invocation, /, sources: tuple[str, ...], out: str, **options: Any) -> int:
    """Cut the objects under SOURCES into parts and score them. SOURCES are as for `cxr score`.

    The runs of the parts are named ID-p0001, ID-p0002 and so on. Study dates are read from folder names (2024/03/17,
    2024-03-17, 20240317). Objects without a date come last.
    """
    from cxr_schemas import Cut, CutBy, PartOrder
    from cxrlib.backfills.create import BackfillRequest, start_backfill
    from cxrlib.models.bundle import load_bundle
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.runs.run_id import new_run_id

    if options["parts"] and (options["part_size"] or options["by"] != "count"):
        raise click.UsageError("--parts cuts by count into parts of equal size: give it without --by and --part-size")
    from cxrlib.extras import require

    require("cxr backfill", "score")
    options["runner"] = runner_with(options["runner"] or "local", options["workers"])
    settings = settings_from(options)
    cut = Cut(
        by=CutBy(options["by"]),
        parts=options["parts"],
        depth=options["depth"],
        order=PartOrder(options["order"]),
        **({"part_size": options["part_size"]} if options["part_size"] else {}),
    )
    results = ResultsRoot.at(out)
    request = BackfillRequest(
        backfill_id=options["backfill_id"] or new_run_id(),
        sources=sources,
        cut=cut,
        settings=settings,
        runner=options["runner"],
        beam_options=options["beam_options"],
    )
    check_runner(request.runner, request.beam_options)
    bundle = load_bundle(settings.bundle)
    if options["dry_run"]:
        return show_dry_run(results, request, bundle, options)
    manifest = start_backfill(results, request, bundle)
    text_console(options["as_json"]).print(
        f"backfill {manifest.backfill_id}: {manifest.objects} objects in {len(manifest.parts)} parts"
    )
    return run_backfill(results, manifest, settings, options, invocation, only_failed=False)


@backfill.command(
    epilog="""\b
Examples:
  cxr backfill resume archive --out s3://scores
  cxr backfill resume archive --out s3://scores --retry-failed
"""
)
@click.argument("backfill_id", metavar="ID")
@click.option("--out", required=True, type=LOCATION, help=_OUT_HELP)
@click.option("--retry-failed", is_flag=True, help="Score only parts that failed or closed with retryable rejects.")
@setting_options
@_work_options
def resume(invocation: Invocation, /, backfill_id: str, out: str, retry_failed: bool, **options: Any) -> int:
    """Continue the backfill ID on any machine. Its manifest and its progress are read from the results root.

    The settings are those of its start. An option overrides a setting as long as the rows stay the same. The site's
    privacy key is not stored: give it again.
    """
    from cxrlib.backfills.create import check_settings
    from cxrlib.backfills.stored import cancel_pause, require_backfill
    from cxrlib.extras import require
    from cxrlib.models.bundle import load_bundle
    from cxrlib.results.objects import ResultsRoot

    require("cxr backfill", "score")
    results = ResultsRoot.at(out)
    manifest = require_backfill(results, backfill_id)
    settings = settings_from(options, manifest.settings)
    check_settings(manifest, settings, load_bundle(settings.bundle))
    options["runner"] = runner_with(options["runner"] or manifest.runner, options["workers"])
    options["beam_options"] = options["beam_options"] or manifest.beam_options
    check_runner(options["runner"], options["beam_options"])
    cancel_pause(results, backfill_id)
    return run_backfill(results, manifest, settings, options, invocation, only_failed=retry_failed)


@backfill.command(
    epilog="""\b
Example:
  cxr backfill pause archive --out s3://scores
"""
)
@click.argument("backfill_id", metavar="ID")
@click.option("--out", required=True, type=LOCATION, help=_OUT_HELP)
@debug_option
def pause(backfill_id: str, out: str) -> None:
    """Pause the backfill ID, on whichever machine it runs. Settled films are kept; `resume` continues it.

    On the local runner, its parts stop within seconds. On a cluster, running parts are completed first.
    """
    from cxrlib.backfills.stored import request_pause, require_backfill
    from cxrlib.results.objects import ResultsRoot

    results = ResultsRoot.at(out)
    require_backfill(results, backfill_id)
    request_pause(results, backfill_id)
    text_console().print(
        f"backfill {backfill_id} will pause; `cxr backfill resume {backfill_id} --out {out}` continues it"
    )


@backfill.command(
    epilog="""\b
Example:
  cxr backfill show archive --out s3://scores
"""
)
@click.argument("backfill_id", metavar="ID")
@click.option("--out", required=True, type=LOCATION, help=_OUT_HELP)
@json_option
@debug_option
def show(backfill_id: str, out: str, as_json: bool) -> int:
    """Show the progress of each part of the backfill ID."""
    from cxr_flows.cli.scoring.backfill_progress import parts_table
    from cxr_flows.reports.backfill import BackfillTotals, totals_lines
    from cxr_pipelines.backfill.progress import ProgressBoard
    from cxrlib.backfills.stored import is_paused, part_states, require_backfill
    from cxrlib.results.objects import ResultsRoot

    results = ResultsRoot.at(out)
    manifest = require_backfill(results, backfill_id)
    states = part_states(results, manifest)
    totals = BackfillTotals.of(manifest, states)
    console = text_console(as_json)
    console.print(parts_table(ProgressBoard(states).snapshot(), len(states)))
    for line in totals_lines(totals):
        console.print(line)
    if is_paused(results, backfill_id):
        console.print("the backfill is paused")
    if as_json:
        print_json(totals.model_dump(mode="json"))
    return exit_code_of(totals)


for _command in (start, resume):
    _command.params = [parameter for parameter in _command.params if parameter.name not in _OPTIONS_OF_RUNS]
