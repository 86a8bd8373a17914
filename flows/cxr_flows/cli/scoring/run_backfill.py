"""Run a backfill or its dry run for `cxr backfill`: show the progress, print the totals, choose the exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cxr_flows.cli.console import Invocation, print_json, text_console
from cxr_flows.cli.exit_codes import Exit

if TYPE_CHECKING:
    from cxr_flows.reports.backfill import BackfillTotals
    from cxr_pipelines.backfill.work import Ending
    from cxr_schemas import BackfillManifest
    from cxrlib.backfills.create import BackfillRequest
    from cxrlib.models.bundle import Bundle
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.settings import Settings


def check_runner(runner: str, beam_options: Sequence[str]) -> None:
    """Report an unknown or refused runner now, and not once for each part."""
    from cxr_pipelines.runner_choice import RunnerChoice

    RunnerChoice.parse(runner, tuple(beam_options))


def show_dry_run(results: ResultsRoot, request: BackfillRequest, bundle: Bundle, options: Mapping[str, Any]) -> int:
    """Print the parts of a backfill and the time that it would take; return the exit code."""
    from cxr_flows.reports.backfill import forecast_lines
    from cxr_pipelines.backfill.dry_run import dry_run
    from cxr_pipelines.jobs.run_job import run_job

    def report(text: str) -> None:
        if not options["quiet"]:
            click.echo(text, err=True)

    forecast = dry_run(
        results, request, bundle, parallel=options["parallel"], most=options["sample"], run_part=run_job, report=report
    )
    for line in forecast_lines(forecast):
        text_console(options["as_json"]).print(line)
    if options["as_json"]:
        parts = [
            {**part.entry.model_dump(), "to_score": part.to_score, "seconds": part.seconds} for part in forecast.parts
        ]
        print_json({**asdict(forecast), "parts": parts})
    return Exit.SETTLED


def run_backfill(
    results: ResultsRoot,
    manifest: BackfillManifest,
    settings: Settings,
    options: Mapping[str, Any],
    invocation: Invocation,
    *,
    only_failed: bool,
) -> int:
    """Score the parts of a backfill, show its progress and its totals, and return the exit code."""
    from cxr_flows.cli.scoring.backfill_progress import backfill_progress
    from cxr_flows.reports.backfill import BackfillTotals, totals_lines
    from cxr_pipelines.backfill.progress import ProgressBoard
    from cxr_pipelines.backfill.scheduler import run_parts
    from cxr_pipelines.backfill.work import BackfillWork, Ending
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
    with backfill_progress(options["quiet"]) as on_tick:
        ending = run_parts(work, board, run_job, on_tick)
        on_tick(board)
    totals = BackfillTotals.of(manifest, part_states(results, manifest))
    console = text_console(options["as_json"])
    for line in totals_lines(totals):
        console.print(line)
    if ending is Ending.PAUSED:
        console.print(f"paused; `cxr backfill resume {manifest.backfill_id} --out {results.root}` continues it")
    if options["as_json"]:
        print_json(totals.model_dump(mode="json"))
    return exit_code_of(totals, ending)


def exit_code_of(totals: BackfillTotals, ending: Ending | None = None) -> int:
    """Return the exit code for the totals of a backfill."""
    if ending == "paused":
        return Exit.INTERRUPTED
    if totals.failed:
        return Exit.COULD_NOT_RUN
    return Exit.RETRYABLE if totals.retryable else Exit.SETTLED
