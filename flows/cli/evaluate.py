"""`cxr evaluate`: what a bundle is worth on labelled films."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from flows.cli.console import debug_option, json_option, people, print_json
from flows.cli.options import settings_from
from flows.cli.progress import film_progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cxrlib.bundle import Bundle
    from schemas.card import Metric

EPILOG = """\b
A DATASET is a folder; what is in it tells its layout:
  COVID-QU-Ex                   its parts, with splits.csv or without
  CSV                           index.csv, or any CSV file: image, lung_mask,
                                infection_mask, label, group, split
  phantoms                      as `cxr phantom --masks` writes them
  COVID-19 Radiography Database its class folders of images and masks
  Kermany chest_xray            train, val, test of NORMAL, PNEUMONIA
  Montgomery, Shenzhen          CXR_png with ManualMask or mask
  LabelMe                       JSON files beside their films

\b
Example:
  cxr evaluate default ./covid-qu-ex ./lung_seg
"""


@click.command(epilog=EPILOG)
@click.argument("bundle")
@click.argument("datasets", nargs=-1, required=True, metavar="DATASET...", type=click.Path(exists=True))
@click.option(
    "--split", type=click.Choice(["test", "train", "all"]), default="test", show_default=True, help="Which films."
)
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [default: auto]")
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16"]), help="Arithmetic to run in.")
@click.option("--write-card", is_flag=True, help="Put the figures onto the bundle's card (its digest then changes).")
@json_option
@debug_option
def evaluate(
    bundle: str,
    datasets: tuple[str, ...],
    split: str,
    device: str | None,
    precision: str | None,
    write_card: bool,
    as_json: bool,
) -> None:
    """Measure BUNDLE on labelled films by the very steps that score an archive.

    Prints each figure with its 95 % interval. A film that is rejected is not left out: it counts as Dice 0, as a wrong
    class, and as lungs not found. Only the test split says anything of films that were not trained on.
    """
    settings = settings_from({"device": device, "precision": precision})

    from cxrlib import evaluation
    from cxrlib.bundle import load_bundle
    from cxrlib.datasets import Split, load_dataset
    from cxrlib.models.engine import Engine

    loaded = load_bundle(bundle)
    chosen = None if split == "all" else Split(split)
    read = [load_dataset(Path(folder)) for folder in datasets]
    for note in (note for dataset in read for note in dataset.notes):
        click.echo(note, err=True)
    samples = [sample for dataset in read for sample in dataset.of(chosen)]
    engine = Engine(loaded, device=settings.run.device, precision=settings.run.precision)
    with film_progress() as show:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            show(done, len(samples))

        results = evaluation.evaluate(samples, engine.predict, loaded.card, progress=count)
    figures = evaluation.card_metrics(evaluation.measure(results, loaded.card, resamples=0))
    title = f"{loaded.card.bundle.name} {loaded.card.bundle.version} on {split} films"
    people(as_json).print(figure_table(figures, title))
    if as_json:
        print_json([figure.model_dump(mode="json") for figure in figures])
    if write_card:
        _write_card(bundle, loaded, figures)


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


def _write_card(name: str, bundle: Bundle, figures: Sequence[Metric]) -> None:
    from cxrlib.bundle import locate, write_bundle

    card = bundle.card.model_copy(update={"metrics": tuple(figures)})
    written = write_bundle(locate(name), card, bundle.files)
    click.echo(f"the card holds {len(figures)} figures; the bundle's digest is now {written.digest}", err=True)
