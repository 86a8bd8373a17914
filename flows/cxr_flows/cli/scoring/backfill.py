"""`cxr backfill`: an archive of any size in parts; each is a run of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, people, print_json
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.options import runner_with, setting_options, settings_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxr_flows.reports.backfill import BackfillTotals
    from cxr_pipelines.backfill.scheduler import Ending
    from cxr_schemas import BackfillManifest
    from cxrlib.backfills.create import BackfillRequest
    from cxrlib.models.bundle import Bundle
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.settings import Settings

EPILOG: Final = """\b
Examples:
  cxr backfill s3://pacs/ --out s3://scores --by month --dry-run     what it would be, and how long it would take
  cxr backfill s3://pacs/ --out s3://scores --by month --id archive --parallel 4
  cxr backfill pause archive --out s3://scores                       from any machine
  cxr backfill resume archive --out s3://scores
  cxr backfill resume archive --out s3://scores --retry-failed       the parts that fell, alone
  cxr backfill show archive --out s3://scores

`cxr backfill SOURCES ...` is short for `cxr backfill start SOURCES ...`; `cxr backfill start --help` says more.
"""

#: A backfill waits for other runs as long as it takes, and stands aside for those that wait.
_NOT_ITS: Final = frozenset({"wait"})


class _StartByDefault(click.Group):
    """Takes what is no command of its own for the sources of ``start``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["start", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_StartByDefault, epilog=EPILOG)
def backfill() -> None:
    """Score an archive of any size in parts: several at once, paused and resumed at any time.

    Each part is a run of its own, with a plan and a commit of its own. A backfill lets other runs into the same
    results root have their turn: one that waits (`cxr nightly --wait SECONDS`) goes first.
    """


def _work_options(command: Any) -> Any:
    """Give a command what says how the parts are worked off."""
    options = (
        click.option("--parallel", type=click.IntRange(1), default=1, show_default=True, help="Parts at once."),
        click.option("--retries", type=click.IntRange(0), default=1, show_default=True, help="Tries after the first."),
        click.option("--runner", help="As for `cxr score`; each part is one job of it.  [default: local]"),
        click.option(
            "--workers", type=click.IntRange(1), help="Worker processes of a part on the local runner.  [default: one]"
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


@backfill.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--out", required=True, metavar="URI", help="Results root: a folder or any URI.")
@click.option("--id", "backfill_id", help="Name of the backfill.  [default: date and a random part]")
@click.option(
    "--by",
    type=click.Choice(["count", "prefix", "year", "month", "day"]),
    default="count",
    show_default=True,
    help="What begins a part of its own: the study date in the folders' names, a folder, or so many objects.",
)
@click.option(
    "--part-size", type=click.IntRange(1), help="Most objects of a part; what is larger is cut again.  [default: 50000]"
)
@click.option("--parts", type=click.IntRange(1), help="Parts of equal size, where they are cut by count.")
@click.option("--depth", type=click.IntRange(1), default=1, show_default=True, help="Folders that make a prefix.")
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    default="newest",
    show_default=True,
    help="Which come first, by the date or the name that they are cut by.",
)
@click.option("--dry-run", is_flag=True, help="Say what it would be and, by a sample that is scored, how long.")
@click.option(
    "--sample", type=click.IntRange(1), default=1024, show_default=True, help="Most films that a dry run scores."
)
@setting_options
@_work_options
def start(invocation: Invocation, /, sources: tuple[str, ...], out: str, **options: Any) -> int:
    """Cut what SOURCES hold into parts, and score them. SOURCES are those of `cxr score`.

    A part's run is called ID-p0001 and so on. Dates are looked for in the folders' names (2024/03/17, 2024-03-17,
    20240317); what has none comes last.
    """
    from cxr_schemas import Cut, CutBy, PartOrder
    from cxrlib.backfills.create import BackfillRequest, start_backfill
    from cxrlib.models.bundle import load_bundle
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.runs.run_id import new_run_id

    if options["parts"] and (options["part_size"] or options["by"] != "count"):
        raise click.UsageError("--parts cuts by count into parts of one size: give it without --by and --part-size")
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
    _check_runner(request.runner, request.beam_options)
    bundle = load_bundle(settings.bundle)
    if options["dry_run"]:
        return _dry_run(results, request, bundle, options)
    manifest = start_backfill(results, request, bundle)
    people(options["as_json"]).print(
        f"backfill {manifest.backfill_id}: {manifest.objects} objects in {len(manifest.parts)} parts"
    )
    return _work(results, manifest, settings, options, invocation, only_failed=False)


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@click.option("--out", required=True, metavar="URI", help="Results root that it is in.")
@click.option("--retry-failed", is_flag=True, help="Only parts that fell, or closed with rejects that may heal.")
@setting_options
@_work_options
def resume(invocation: Invocation, /, backfill_id: str, out: str, retry_failed: bool, **options: Any) -> int:
    """Go on with the backfill ID, on any machine: what it is and how it stands is read from the results root.

    Settings are those it was begun with; options that are given go before them, as long as rows stay the same. The
    site's key is not stored, and must be given again.
    """
    from cxrlib.backfills.create import check_settings
    from cxrlib.backfills.stored import ask_to_go_on, require_backfill
    from cxrlib.models.bundle import load_bundle
    from cxrlib.results.objects import ResultsRoot

    results = ResultsRoot.at(out)
    manifest = require_backfill(results, backfill_id)
    settings = settings_from(options, manifest.settings)
    check_settings(manifest, settings, load_bundle(settings.bundle))
    options["runner"] = runner_with(options["runner"] or manifest.runner, options["workers"])
    options["beam_options"] = options["beam_options"] or manifest.beam_options
    _check_runner(options["runner"], options["beam_options"])
    ask_to_go_on(results, backfill_id)
    return _work(results, manifest, settings, options, invocation, only_failed=retry_failed)


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@click.option("--out", required=True, metavar="URI", help="Results root that it is in.")
@debug_option
def pause(backfill_id: str, out: str) -> None:
    """Have the backfill ID pause, wherever it runs. What is settled is kept; `resume` goes on with it.

    On the local runner its parts are stopped within seconds. On a cluster those that run are waited for.
    """
    from cxrlib.backfills.stored import ask_to_pause, require_backfill
    from cxrlib.results.objects import ResultsRoot

    results = ResultsRoot.at(out)
    require_backfill(results, backfill_id)
    ask_to_pause(results, backfill_id)
    people().print(f"backfill {backfill_id} is to pause; `cxr backfill resume {backfill_id} --out {out}` goes on")


@backfill.command()
@click.argument("backfill_id", metavar="ID")
@click.option("--out", required=True, metavar="URI", help="Results root that it is in.")
@json_option
@debug_option
def show(backfill_id: str, out: str, as_json: bool) -> int:
    """Show how the parts of the backfill ID stand, from what is stored of their runs."""
    from cxr_flows.cli.scoring.backfill_progress import parts_table
    from cxr_flows.reports.backfill import BackfillTotals, totals_lines
    from cxr_pipelines.backfill.progress import ProgressBoard
    from cxrlib.backfills.stored import is_paused, part_states, require_backfill
    from cxrlib.results.objects import ResultsRoot

    results = ResultsRoot.at(out)
    manifest = require_backfill(results, backfill_id)
    states = part_states(results, manifest)
    totals = BackfillTotals.of(manifest, states)
    console = people(as_json)
    console.print(parts_table(ProgressBoard(states).view(), len(states)))
    for line in totals_lines(totals):
        console.print(line)
    if is_paused(results, backfill_id):
        console.print("it is paused")
    if as_json:
        print_json(totals.model_dump(mode="json"))
    return _exit_of(totals)


for _command in (start, resume):
    _command.params = [parameter for parameter in _command.params if parameter.name not in _NOT_ITS]


def _check_runner(runner: str, beam_options: Sequence[str]) -> None:
    """Say now, and not once for each part, that a runner is unknown or refused."""
    from cxr_pipelines.runner_choice import RunnerChoice

    RunnerChoice.parse(runner, tuple(beam_options))


def _dry_run(results: ResultsRoot, request: BackfillRequest, bundle: Bundle, options: dict[str, Any]) -> int:
    from cxr_flows.reports.backfill import forecast_lines
    from cxr_pipelines.backfill.dry_run import dry_run
    from cxr_pipelines.jobs.run_job import run_job

    say: Callable[[str], None] = (lambda text: None) if options["quiet"] else (lambda text: click.echo(text, err=True))
    forecast = dry_run(
        results, request, bundle, parallel=options["parallel"], most=options["sample"], run_part=run_job, say=say
    )
    for line in forecast_lines(forecast):
        people(options["as_json"]).print(line)
    if options["as_json"]:
        parts = [
            {**part.entry.model_dump(), "to_score": part.to_score, "seconds": part.seconds} for part in forecast.parts
        ]
        print_json({**asdict(forecast), "parts": parts})
    return Exit.SETTLED


def _work(
    results: ResultsRoot,
    manifest: BackfillManifest,
    settings: Settings,
    options: dict[str, Any],
    invocation: Invocation,
    *,
    only_failed: bool,
) -> int:
    from cxr_flows.cli.scoring.backfill_progress import parts_shown
    from cxr_flows.reports.backfill import BackfillTotals, totals_lines
    from cxr_pipelines.backfill.progress import ProgressBoard
    from cxr_pipelines.backfill.scheduler import BackfillWork, Ending, run_parts
    from cxr_pipelines.jobs.run_job import run_job
    from cxrlib.backfills.stored import part_states

    work = BackfillWork(
        results,
        manifest,
        settings,
        parallel=options["parallel"],
        retries=options["retries"],
        only_failed=only_failed,
        runner=options["runner"],
        beam_options=tuple(options["beam_options"]),
        debug=invocation.debug,
    )
    board = ProgressBoard(part_states(results, manifest))
    with parts_shown(options["quiet"]) as on_tick:
        ending = run_parts(work, board, run_job, on_tick)
        on_tick(board)
    totals = BackfillTotals.of(manifest, part_states(results, manifest))
    console = people(options["as_json"])
    for line in totals_lines(totals):
        console.print(line)
    if ending is Ending.PAUSED:
        console.print(f"it is paused; `cxr backfill resume {manifest.backfill_id} --out {results.root}` goes on with it")
    if options["as_json"]:
        print_json(totals.model_dump(mode="json"))
    return _exit_of(totals, ending)


def _exit_of(totals: BackfillTotals, ending: Ending | None = None) -> int:
    if ending == "paused":
        return Exit.INTERRUPTED
    if totals.failed:
        return Exit.COULD_NOT_RUN
    return Exit.RETRYABLE if totals.retryable else Exit.SETTLED
