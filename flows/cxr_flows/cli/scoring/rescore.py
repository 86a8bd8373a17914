"""`cxr rescore`: score films again with a new bundle, and compare its rows with the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, print_json, text_console
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.film_progress import film_progress
from cxr_flows.cli.options import LOCATION, setting_options, settings_from

if TYPE_CHECKING:
    from cxrlib.results.compare import BundleRows, Comparison
    from cxrlib.results.selection import Criteria, Selection

EPILOG = """\b
Examples:
  cxr rescore ./results --bundle ./new-bundle
  cxr rescore s3://scores --bundle s3://models/v2 --month 2025 --grade severe --grade critical
  cxr rescore ./results --from default-1a2b3c4d --bundle v2 --where "percent_infected > 10 and view = 'AP'"
  cxr rescore ./results --bundle ./new-bundle --resume 20260821T010000Z-1f3a9c

The new rows are stored beside the old ones by an ordinary run, which `cxr score --resume` can continue too. The
comparison is printed, and stored beside the run's manifest (comparison.md, comparison.parquet).
"""


@click.command(epilog=EPILOG)
@click.argument("uri", type=LOCATION)
@click.option("--out", type=LOCATION, help="Results root of the new rows.  [default: the same URI]")
@click.option("--from", "old", metavar="BUNDLE", help="Bundle whose rows are selected; required if there are several.")
@click.option(
    "--class",
    "classes",
    multiple=True,
    type=click.Choice(["covid19", "pneumonia", "normal"]),
    help="Select films of a class; may be repeated.",
)
@click.option(
    "--grade",
    "grades",
    multiple=True,
    type=click.Choice(["none", "mild", "moderate", "severe", "critical"]),
    help="Select films of a grade; may be repeated.",
)
@click.option(
    "--month", "months", multiple=True, metavar="YYYY[-MM]", help="Select a study month or year; may be repeated."
)
@click.option("--where", metavar="SQL", help="Select films by a condition on score columns, in DuckDB's SQL.")
@click.option("--limit", type=click.IntRange(1), help="Select at most so many films, the newest studies first.")
@setting_options
@click.option("--run-id", help="Name of the run.  [default: date and random digits]")
@click.option("--resume", metavar="RUN_ID", help="Resume this rescoring; its selection is stored.")
@click.option("--runner", default="local", show_default=True, help="As for `cxr score`.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@json_option
@debug_option
@click.pass_obj
def rescore(
    invocation: Invocation,
    /,
    uri: str,
    out: str | None,
    old: str | None,
    classes: tuple[str, ...],
    grades: tuple[str, ...],
    months: tuple[str, ...],
    where: str | None,
    limit: int | None,
    run_id: str | None,
    resume: str | None,
    runner: str,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Score selected films of the results root URI again with --bundle, and compare the rows.

    A film is scored in the version that its old row was made from. If the object was replaced since, it is named and
    not compared.
    """
    if not options["bundle"]:
        raise click.UsageError("expected --bundle with the new bundle")
    if resume and (run_id or old or classes or grades or months or where or limit):
        raise click.UsageError("--resume continues a stored selection: give no selection and no --run-id")
    from cxrlib.extras import require

    require("cxr rescore", "score")
    settings = settings_from(options)

    from cxr_flows.cli.results.compare import plain, show
    from cxr_flows.reports.run import summary_lines
    from cxr_pipelines.jobs.messages import ScoreJob
    from cxr_pipelines.jobs.run_job import run_job
    from cxr_schemas import FilmClass, Grade
    from cxrlib.models.bundle import load_bundle
    from cxrlib.results.compare import BundleRows
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.results.selection import Criteria, read_selection, require_one_partition
    from cxrlib.runs.run_id import new_run_id

    target = ResultsRoot.at(out or uri)
    name = resume or run_id or new_run_id()
    new = load_bundle(settings.bundle).partition
    if resume:
        selection = read_selection(target, resume)
    else:
        criteria = Criteria(tuple(map(FilmClass, classes)), tuple(map(Grade, grades)), months, where, limit)
        scored = ResultsRoot.at(uri)
        old_rows = BundleRows(scored, require_one_partition(scored, old))
        selection = _choose(old_rows, criteria, BundleRows(target, new), name)
    console = text_console(as_json)
    console.print(f"{selection.films} films of {selection.partition} are selected; run {name}")
    job = ScoreJob.of(
        settings,
        sources=() if resume else (selection.source,),
        out=target.root,
        run_id=name,
        resume=resume is not None,
        runner=runner,
        debug=invocation.debug,
    )
    with film_progress(quiet) as progress:
        manifest = run_job(job, lambda got: progress(got.done, got.total))
    for line in summary_lines(manifest):
        console.print(line)
    comparison = _compared(selection, BundleRows(target, new), name)
    show(comparison, console)
    if as_json:
        print_json({"manifest": manifest.model_dump(mode="json"), "comparison": plain(comparison)})
    return Exit.RETRYABLE if manifest.retryable else Exit.SETTLED


def _choose(old: BundleRows, criteria: Criteria, new: BundleRows, run_id: str) -> Selection:
    """Select films of the old rows and store the selection, unless they cannot be scored."""
    from cxrlib.errors import UsageError
    from cxrlib.results.selection import select, write_selection

    if old == new:
        raise UsageError(f"expected another bundle than {old.partition}, which scored the films already")
    if run_id in new.results.runs():
        raise UsageError(f"the results root {new.results.root} has a run {run_id}: choose another id, or --resume it")
    for side in (old, new):
        side.results.require_complete()
    films = select(old.results, old.partition, criteria)
    return write_selection(films, source=old.results, partition=old.partition, out=new.results, run_id=run_id)


def _compared(selection: Selection, new: BundleRows, run_id: str) -> Comparison:
    """Compare, and store the comparison beside the run's manifest."""
    from cxr_flows.reports.comparison import comparison_markdown
    from cxrlib.results import layout
    from cxrlib.results.compare import BundleRows, open_comparison
    from cxrlib.results.objects import ResultsRoot

    old = BundleRows(ResultsRoot(selection.root), selection.partition)
    with open_comparison(old, new, only=selection.uri) as (got, films):
        new.results.put(layout.comparison_key(run_id), films.parquet())
        new.results.put(layout.comparison_page_key(run_id), comparison_markdown(got).encode())
    return got
