"""`cxr score`: score films into Parquet."""

from __future__ import annotations

from typing import Any

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, print_json, text_console
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.film_progress import film_progress
from cxr_flows.cli.options import LOCATION, runner_with, setting_options, settings_from

EPILOG = """\b
SOURCES are one or more of
  a film              ./film.dcm
  a folder            ./films           (with all its subfolders)
  a bucket or prefix  s3://pacs/2024/   (also gs://, abfs://, http://, memory://)
  a glob              's3://pacs/**/*.dcm'   (quote it)
  an archive          zip://::s3://pacs/march.zip
  an inventory        list.csv or list.parquet with the columns uri, size, etag

\b
The file type is detected from the content, never from the name. Every listed object becomes a row in
  URI/scores/     scored
  URI/rejects/    not scored, with the reason
or is named as a duplicate of another object. Read the rows with pandas.read_parquet or cxrlib.cohort.load.

\b
Examples:
  cxr score ./films --out ./results
  cxr score s3://pacs/2024/ s3://pacs/2025/ --out s3://scores --privacy-key-file ./key
  cxr score --resume 20260821T010000Z-1f3a9c --out ./results      continue a run

The same command again scores only objects that are new, have changed, or failed with a retryable error. Stores use
their standard credentials and endpoints (AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...).
"""


@click.command(epilog=EPILOG)
@click.argument("sources", nargs=-1, type=LOCATION)
@click.option("--out", required=True, type=LOCATION, help="Results root: a folder or any URI.")
@setting_options
@click.option("--run-id", help="Name of the run.  [default: date and random digits]")
@click.option("--resume", "resume", metavar="RUN_ID", help="Resume this run by its stored plan.")
@click.option(
    "--runner",
    default="local",
    show_default=True,
    help="local, local:N (same as --workers N), flink, spark, dataflow, portable or prism.",
)
@click.option("--workers", type=click.IntRange(1), help="Worker processes of the local runner.  [default: 1]")
@click.option(
    "--beam-option",
    "beam_options",
    multiple=True,
    metavar="OPTION",
    help="Option of the Beam runner, for example --beam-option=--parallelism=8; may be repeated.",
)
@click.option("--flink-master", metavar="HOST:PORT", help="Job manager of the Flink cluster, for --runner flink.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
@debug_option
@click.pass_obj
def score(
    invocation: Invocation,
    /,
    sources: tuple[str, ...],
    out: str,
    run_id: str | None,
    resume: str | None,
    runner: str,
    workers: int | None,
    beam_options: tuple[str, ...],
    flink_master: str | None,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Score the chest films under SOURCES into Parquet at --out."""
    if bool(sources) == bool(resume):
        raise click.UsageError("expected either SOURCES or --resume RUN_ID (the stored plan holds the sources)")
    if run_id and resume:
        raise click.UsageError("--run-id names a new run and --resume an existing one: give only one of them")
    from cxrlib.extras import require

    require("cxr score", "score")
    runner = runner_with(runner, workers)
    if flink_master is not None:
        from cxr_pipelines.runner_choice import FLINK, RunnerChoice

        if RunnerChoice.parse(runner).name != FLINK:
            raise click.UsageError(f"--flink-master is for --runner flink; got the runner {runner}")
        beam_options = (*beam_options, f"--flink_master={flink_master}")
    from cxr_pipelines.jobs.child_process import scoring_process

    # A run scores in a child process group, so that Ctrl-C or a kill ends every worker, and no worker writes after it.
    # The child starts first: it imports Beam and torch while this process reads the options.
    with scoring_process() as child:
        settings = settings_from(options)
        if resume:
            _require_run(out, resume)

        from cxr_pipelines.jobs.messages import ScoreJob
        from cxr_pipelines.jobs.run_job import run_job
        from cxrlib.runs.run_id import new_run_id

        job = ScoreJob.of(
            settings,
            sources=sources,
            out=out,
            run_id=resume or run_id or new_run_id(),
            resume=resume is not None,
            runner=runner,
            beam_options=beam_options,
            debug=invocation.debug,
        )
        with film_progress(quiet) as show:
            manifest = run_job(job, lambda progress: show(progress.done, progress.total), child=child)

    from cxr_flows.reports.run import summary_lines

    console = text_console(as_json)
    for line in summary_lines(manifest):
        console.print(line)
    console.print(f"results: {out}")
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    return Exit.RETRYABLE if manifest.retryable else Exit.SETTLED


def _require_run(out: str, run_id: str) -> None:
    """Raise UsageError, naming the newest runs, if the run to resume has no plan."""
    from cxrlib.errors import UsageError
    from cxrlib.results.objects import ResultsRoot

    runs = ResultsRoot.at(out).runs()
    if run_id not in runs:
        known = f"its newest runs are {', '.join(sorted(runs)[-3:])}" if runs else "it has no runs"
        raise UsageError(f"the results root {out} has no run {run_id}; {known}")
