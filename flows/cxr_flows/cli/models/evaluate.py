"""`cxr evaluate`: measure the accuracy of a bundle on labelled films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_flows.cli.console import debug_option, text_console
from cxr_flows.cli.film_progress import film_progress
from cxr_flows.cli.options import LOCATION, settings_from

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from cxr_schemas.card import Metric
    from cxrlib.datasets import LabelledDataset, Sample
    from cxrlib.evaluation import EvaluatedDataset, FilmResult, ShownFilms
    from cxrlib.models.bundle import Bundle

EPILOG = """\b
A DATASET is a folder. Its layout is detected from its content:
  COVID-QU-Ex                   its parts, with or without splits.csv
  CSV                           index.csv, or any CSV file: image, lung_mask,
                                infection_mask, label, group, split
  phantoms                      written by `cxr phantom --masks`
  COVID-19 Radiography Database class folders with images and masks
  Kermany chest_xray            train, val, test of NORMAL, PNEUMONIA
  Montgomery, Shenzhen          CXR_png with ManualMask or mask
  LabelMe                       JSON files beside the films

\b
Example:
  cxr evaluate default ./covid-qu-ex ./lung_seg --report ./report
"""


@click.command(epilog=EPILOG)
@click.argument("bundle", type=LOCATION)
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...", type=click.Path(exists=True))
@click.option(
    "--split", type=click.Choice(["test", "train", "all"]), default="test", show_default=True, help="Films to measure."
)
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--engine", type=click.Choice(["auto", "openvino", "torch"]), help="Library that runs the networks.")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Arithmetic of the networks.")
@click.option("--write-card", is_flag=True, help="Write the figures to the bundle's card, which changes its digest.")
@click.option(
    "--json",
    "json_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write all figures as one JSON document; - is stdout.",
)
@click.option(
    "--report",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write report.html (tables, plots, worst films), figures.json and films.csv.",
)
@click.option(
    "--worst",
    type=click.Choice(["all", "phantoms", "none"]),
    default="all",
    show_default=True,
    help="Films that the report may show among the worst.",
)
@click.option(
    "--sources",
    "sources_file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file with a note on the films and labels of each source; the report shows the notes.",
)
@debug_option
def evaluate(
    bundle: str,
    datasets: tuple[str, ...],
    split: str,
    device: str | None,
    engine: str | None,
    precision: str | None,
    write_card: bool,
    json_file: Path | None,
    report: Path | None,
    worst: str,
    sources_file: Path | None,
) -> None:
    """Measure BUNDLE on labelled films, with the same steps that score an archive.

    The figures of the card are printed, each with its 95 % interval. --json and --report add about sixty more, with
    group bootstraps. A rejected film counts as Dice 0, as a wrong class, and as lungs not found. Only the test split
    contains films that the bundle was not trained on.
    """
    from cxrlib.extras import require

    require("cxr evaluate", "score")
    if report is not None:
        require("cxr evaluate --report", "train")
    settings = settings_from({"engine": engine, "device": device, "precision": precision})

    from cxrlib import __version__, evaluation
    from cxrlib.datasets import load_dataset
    from cxrlib.models.bundle import load_bundle
    from cxrlib.models.inference.choose_engine import load_engine
    from cxrlib.models.inference.forward_batch import choose_forward_batch

    loaded = load_bundle(bundle)
    notes = {} if sources_file is None else evaluation.read_source_notes(sources_file)
    read = {folder: load_dataset(folder) for folder in datasets}
    samples = _films_of(read, split)
    run = settings.run
    networks = load_engine(
        loaded,
        engine=run.engine,
        device=run.device,
        precision=run.precision,
        forward_batch=choose_forward_batch(run, loaded.card),
    )
    with film_progress() as show:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            show(done, len(samples))

        results = evaluation.evaluate(samples, networks.predict, loaded.card, settings=settings, progress=count)
    in_full = json_file is not None or report is not None
    measured = evaluation.measure_figures(results, loaded.card, resamples=evaluation.RESAMPLES if in_full else 0)
    figures = evaluation.card_metrics(measured)
    title = f"{loaded.card.bundle.name} {loaded.card.bundle.version} on {split} films"
    text_console(as_json=str(json_file) == "-").print(figure_table(figures, title))
    for sentence in evaluation.not_measured(loaded.card):
        click.echo(sentence, err=True)
    if write_card:
        loaded = _write_card(bundle, loaded, figures)
    if in_full:
        whole = evaluation.Evaluation(
            bundle=loaded,
            split=split,
            precision=networks.precision.value,
            device=networks.device_name.partition(":")[0],
            software_version=__version__,
            datasets=tuple(_described(folder, found, split) for folder, found in read.items()),
            results=tuple(results),
            measured=tuple(measured),
            notes=notes,
        )
        if json_file is not None:
            with click.open_file(str(json_file), "w", encoding="utf-8") as file:
                file.write(evaluation.json_text(whole))
        if report is not None:
            from cxrlib.evaluation.report.html_report import write_report
            from cxrlib.evaluation.report.worst_films import draw_worst_films

            shown = evaluation.ShownFilms(worst)
            pictures = draw_worst_films(_showable(results, read, shown), networks.predict, loaded.card, settings)
            click.echo(f"report: {write_report(whole, pictures, report, shown=shown)}", err=True)


def _films_of(read: Mapping[str, LabelledDataset], split: str) -> list[Sample]:
    """Return the films of a split, after printing the notes on their data sets."""
    from cxrlib.datasets import Split
    from cxrlib.errors import UsageError

    for note in (note for dataset in read.values() for note in dataset.notes):
        click.echo(note, err=True)
    chosen = None if split == "all" else Split(split)
    samples = [sample for dataset in read.values() for sample in dataset.in_split(chosen)]
    if not samples:
        raise UsageError(f"expected {split} films in {', '.join(read)}; got none (--split all takes every film)")
    return samples


def _showable(
    results: Sequence[FilmResult], read: Mapping[str, LabelledDataset], shown: ShownFilms
) -> list[FilmResult]:
    """Return the results whose films the report may show."""
    from cxrlib.datasets.layouts import phantoms
    from cxrlib.evaluation import ShownFilms

    if shown is ShownFilms.ALL:
        return list(results)
    sets = [dataset for dataset in read.values() if shown is ShownFilms.PHANTOMS and dataset.layout == phantoms.LAYOUT]
    images = {sample.image for dataset in sets for sample in dataset.samples}
    return [result for result in results if result.sample.image in images]


def _described(folder: str, found: LabelledDataset, split: str) -> EvaluatedDataset:
    from cxrlib.datasets import Split
    from cxrlib.evaluation import EvaluatedDataset

    films = found.in_split(None if split == "all" else Split(split))
    return EvaluatedDataset(Path(folder).resolve().name, found.layout, len(films), len(found.samples), found.notes)


def figure_table(figures: Sequence[Metric], title: str | None = None) -> Table:
    """Return measured figures as a table for a console."""
    from rich.table import Table

    table = Table("Films", "Figure", title=title, title_justify="left")
    for head in ("Value", "95 % interval", "Number"):
        table.add_column(head, justify="right")
    for figure in figures:
        interval = f"{figure.low:.3f} to {figure.high:.3f}"
        table.add_row(figure.dataset, figure.metric, f"{figure.value:.3f}", interval, str(figure.films))
    return table


def _write_card(name: str, bundle: Bundle, figures: Sequence[Metric]) -> Bundle:
    """Write the figures to a bundle's card, and return the changed bundle."""
    from cxrlib.models.bundle import locate, write_bundle

    card = bundle.card.model_copy(update={"metrics": tuple(figures)})
    written = write_bundle(locate(name), card, bundle.files)
    click.echo(f"wrote {len(figures)} figures to the card; the bundle's new digest is {written.digest}", err=True)
    return written
