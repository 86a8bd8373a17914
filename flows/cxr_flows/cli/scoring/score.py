"""`cxr score`: list, plan, score, settle, close."""

from __future__ import annotations

from typing import Any

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, people, print_json
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.film_progress import film_progress
from cxr_flows.cli.options import runner_with, setting_options, settings_from

EPILOG = """\b
SOURCES are any number of
  a film              ./film.dcm
  a folder            ./films           (all that is below it)
  a bucket or prefix  s3://pacs/2024/   (also gs://, abfs://, http://, memory://)
  a glob              's3://pacs/**/*.dcm'   (quote it)
  an archive          zip://::s3://pacs/march.zip
  an inventory        list.csv or list.parquet with the columns uri, size, etag

\b
What is a film is told by content, never by the name. Every listed object ends as a row of
  URI/scores/     scored
  URI/rejects/    not scored, with the reason
or as a named copy of another. Read them with pandas.read_parquet or cxrlib.results.cohort.load.

\b
Examples:
  cxr score ./films --out ./results
  cxr score s3://pacs/2024/ s3://pacs/2025/ --out s3://scores --privacy-key-file ./key
  cxr score --resume 20260821T010000Z-1f3a9c --out ./results      take up a run that fell

Running it again scores only what is new, has changed, or failed in a way that may heal. Credentials and endpoints
of a store are those of its own tools (AWS_PROFILE, AWS_ENDPOINT_URL, GOOGLE_APPLICATION_CREDENTIALS, ...).
"""


@click.command(epilog=EPILOG)
@click.argument("sources", nargs=-1)
@click.option("--out", required=True, metavar="URI", help="Results root: a folder or any URI.")
@setting_options
@click.option("--run-id", help="Name of this run.  [default: date and a random part]")
@click.option("--resume", "resume", metavar="RUN_ID", help="Take this run up again, by its stored plan.")
@click.option(
    "--runner",
    default="local",
    show_default=True,
    help="local, local:N (as --workers N), flink, spark, dataflow, portable or prism.",
)
@click.option("--workers", type=click.IntRange(1), help="Worker processes of the local runner.  [default: this one]")
@click.option(
    "--beam-option",
    "beam_options",
    multiple=True,
    metavar="OPTION",
    help="Option of the Beam runner, such as --beam-option=--parallelism=8; may be repeated.",
)
@click.option("--flink-master", metavar="HOST:PORT", help="Job manager of the cluster, for --runner flink.")
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
    """Score every chest film under SOURCES into Parquet at --out."""
    if bool(sources) == bool(resume):
        raise click.UsageError("give SOURCES to score, or --resume RUN_ID to take a run up again (its plan knows them)")
    if run_id and resume:
        raise click.UsageError("--run-id names a new run and --resume an old one: give one of them")
    runner = runner_with(runner, workers)
    if flink_master is not None:
        from cxr_pipelines.runner_choice import FLINK, RunnerChoice

        if RunnerChoice.parse(runner).name != FLINK:
            raise click.UsageError(f"--flink-master is for --runner flink; got the runner {runner}")
        beam_options = (*beam_options, f"--flink_master={flink_master}")
    from cxr_pipelines.jobs.child_process import scoring_process

    # Not in this process: Ctrl-C, or a kill, must end the workers too and leave nobody writing behind a run's back.
    # And before all else: it imports for as long as we take to make out what it is to do.
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

    console = people(as_json)
    for line in summary_lines(manifest):
        console.print(line)
    console.print(f"results: {out}")
    if as_json:
        print_json(manifest.model_dump(mode="json"))
    return Exit.RETRYABLE if manifest.retryable else Exit.SETTLED


def _require_run(out: str, run_id: str) -> None:
    """Say which runs there are where the one to be taken up again has no plan."""
    from cxrlib.errors import UsageError
    from cxrlib.results.objects import ResultsRoot

    runs = ResultsRoot.at(out).runs()
    if run_id not in runs:
        known = f"the newest there: {', '.join(sorted(runs)[-3:])}" if runs else "no run was ever planned there"
        raise UsageError(f"the results root {out} has no run {run_id}; {known}")
