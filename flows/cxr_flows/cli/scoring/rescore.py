"""`cxr rescore`: films that an earlier bundle scored, scored by a new one, and the two compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cxr_flows.cli.console import Invocation, debug_option, json_option, people, print_json
from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.film_progress import film_progress
from cxr_flows.cli.options import setting_options, settings_from

if TYPE_CHECKING:
    from cxrlib.results.compare import Comparison, Side
    from cxrlib.results.selection import Criteria, Selection

EPILOG = """\b
Examples:
  cxr rescore ./results --bundle ./new-bundle
  cxr rescore s3://scores --bundle s3://models/v2 --month 2025 --grade severe --grade critical
  cxr rescore ./results --from default-1a2b3c4d --bundle v2 --where "percent_infected > 10 and view = 'AP'"
  cxr rescore ./results --bundle ./new-bundle --resume 20260821T010000Z-1f3a9c

The new rows stand beside the old ones, as those of an ordinary run, which `cxr score --resume` takes up too. The
comparison is printed, and written beside the run's manifest (comparison.md, comparison.parquet).
"""


@click.command(epilog=EPILOG)
@click.argument("uri")
@click.option("--out", metavar="URI", help="Results root of the new rows.  [default: URI too]")
@click.option("--from", "old", metavar="BUNDLE", help="Whose rows are chosen from; needed where there are several.")
@click.option(
    "--class", "classes", multiple=True, type=click.Choice(["covid19", "pneumonia", "normal"]), help="May be repeated."
)
@click.option(
    "--grade",
    "grades",
    multiple=True,
    type=click.Choice(["none", "mild", "moderate", "severe", "critical"]),
    help="May be repeated.",
)
@click.option("--month", "months", multiple=True, metavar="YYYY[-MM]", help="Study month or year; may be repeated.")
@click.option("--where", metavar="SQL", help="Condition about columns of the score rows, in DuckDB's SQL.")
@click.option("--limit", type=click.IntRange(1), help="At most so many films, the newest studies first.")
@setting_options
@click.option("--run-id", help="Name of this run.  [default: date and a random part]")
@click.option("--resume", metavar="RUN_ID", help="Take this rescoring up again; its selection is stored.")
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
    """Score films of the results root URI anew with --bundle, chosen by what their rows say, and compare.

    Films are taken in the version that their row was made of; one that was replaced since is named, not compared.
    """
    if not options["bundle"]:
        raise click.UsageError("name the new bundle: --bundle")
    if resume and (run_id or old or classes or grades or months or where or limit):
        raise click.UsageError("--resume takes up a stored selection: give no other one, and no --run-id")
    settings = settings_from(options)

    from cxr_flows.cli.results.compare import plain, show
    from cxr_flows.reports.run import summary_lines
    from cxr_pipelines.jobs.messages import ScoreJob
    from cxr_pipelines.jobs.run_job import run_job
    from cxr_schemas import FilmClass, Grade
    from cxrlib.models.bundle import load_bundle
    from cxrlib.results.compare import Side
    from cxrlib.results.objects import ResultsRoot
    from cxrlib.results.selection import Criteria, read_selection, the_bundle
    from cxrlib.runs.run_id import new_run_id

    target = ResultsRoot.at(out or uri)
    name = resume or run_id or new_run_id()
    new = load_bundle(settings.bundle).partition
    if resume:
        selection = read_selection(target, resume)
    else:
        criteria = Criteria(tuple(map(FilmClass, classes)), tuple(map(Grade, grades)), months, where, limit)
        selection = _choose(Side(ResultsRoot.at(uri), the_bundle(ResultsRoot.at(uri), old)), criteria, Side(target, new), name)
    console = people(as_json)
    console.print(f"{selection.films} films of {selection.bundle} are chosen; run {name}")
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
    comparison = _compared(selection, Side(target, new), name)
    show(comparison, console)
    if as_json:
        print_json({"manifest": manifest.model_dump(mode="json"), "comparison": plain(comparison)})
    return Exit.RETRYABLE if manifest.retryable else Exit.SETTLED


def _choose(old: Side, criteria: Criteria, new: Side, run_id: str) -> Selection:
    """Store which films of the old rows are to be scored; nothing is where they cannot be."""
    from cxrlib.errors import UsageError
    from cxrlib.results.selection import select, write_selection

    if old == new:
        raise UsageError(f"the films were scored by {old.bundle} already: expected another bundle to rescore them with")
    if run_id in new.results.runs():
        raise UsageError(f"the results root {new.results.root} has a run {run_id}: choose another id, or --resume it")
    for side in (old, new):
        side.results.require_complete()
    films = select(old.results, old.bundle, criteria)
    return write_selection(films, of=old.results, bundle=old.bundle, out=new.results, run_id=run_id)


def _compared(selection: Selection, new: Side, run_id: str) -> Comparison:
    """Compare, and leave the comparison beside the run's manifest."""
    from cxr_flows.reports.comparison import comparison_markdown
    from cxrlib.results import layout
    from cxrlib.results.compare import Side, compared
    from cxrlib.results.objects import ResultsRoot

    with compared(Side(ResultsRoot(selection.root), selection.bundle), new, only=selection.uri) as (got, films):
        new.results.put(layout.comparison_key(run_id), films.parquet())
        new.results.put(layout.comparison_page_key(run_id), comparison_markdown(got).encode())
    return got
