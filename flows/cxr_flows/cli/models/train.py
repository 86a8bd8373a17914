"""`cxr train`: train a bundle on labelled films by a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_flows.cli.console import debug_option, text_console
from cxr_flows.cli.options import LOCATION

if TYPE_CHECKING:
    from rich.table import Table

_ENCODER_NOTE = """\
smp-hub/NAME.imagenet: the ImageNet weights (model.safetensors) that segmentation-models-pytorch publishes under this \
name. Nothing is downloaded: fetch the file yourself and give it with --pretrained NETWORK=FILE. Without it, the \
encoder starts from random weights, and the bundle's card states that. Packages are installed by the extra train."""


@click.command(
    epilog="""\b
Examples:
  cxr train --encoders
  cxr train default --data ./data --out ./my-bundle
  cxr evaluate ./my-bundle ./data/covid-qu-ex
  cxr score ./films --bundle ./my-bundle --out ./results
"""
)
@click.argument("recipe", required=False)
@click.option("--list", "list_recipes", is_flag=True, help="List the included recipes.")
@click.option(
    "--encoders",
    "list_encoders",
    is_flag=True,
    help="List the weights that the encoders of RECIPE, or of every included recipe, start from, and their sources.",
)
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder that contains the data sets."
)
@click.option("--out", type=LOCATION, help="Folder to write the bundle to.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints, history and learning curves. A killed training resumes from it.  "
    "[default: runs/RECIPE]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Maximum epochs of each network.")
@click.option("--films", type=click.IntRange(min=2), help="Maximum training films of each network.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Time limit for all networks together. Training stops after the current epoch; run again to continue.",
)
@click.option(
    "--pretrained",
    multiple=True,
    metavar="NETWORK=FILE",
    help="Start a network's encoder from the weights in a safetensors file; may be repeated. If a network has several "
    "encoders, name the encoder too: NETWORK.ENCODER=FILE. See --encoders.",
)
@debug_option
def train(
    recipe: str | None,
    list_recipes: bool,
    list_encoders: bool,
    data: Path | None,
    out: str | None,
    work: Path | None,
    epochs: int | None,
    films: int | None,
    minutes: float | None,
    pretrained: tuple[str, ...],
) -> None:
    """Train RECIPE (an included one, or a TOML file) on the data sets under --data, and write a bundle to --out.

    --epochs, --films and --minutes shorten the training; the bundle's card then states that. Weights are never
    downloaded. If a paper starts from ImageNet weights, give them with --pretrained; otherwise the card states that
    there were none.
    """
    from cxrlib.training.recipe import load_recipe

    console = text_console()
    if list_recipes:
        console.print(_recipe_table())
        return
    if list_encoders:
        console.print(_encoder_table(recipe))
        console.print(_ENCODER_NOTE)
        return
    if recipe is None or data is None or out is None:
        raise click.UsageError("expected RECIPE, --data and --out (or --list, or --encoders)")
    from cxrlib.extras import require

    require("cxr train", "train")
    weights = dict(_weights(given) for given in pretrained)
    plan = load_recipe(recipe)

    import logging

    from cxrlib.errors import StoppedError
    from cxrlib.training.train import train as run

    # Lightning logs the accelerators that it did not find, and advertisements.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    try:
        bundle = run(
            plan,
            data,
            work or Path("runs") / plan.bundle.name,
            out,
            epochs=epochs,
            films=films,
            minutes=minutes,
            pretrained=weights,
            report=console.print,
        )
    except SystemExit as error:  # Lightning exits with code 0 on SIGTERM
        raise StoppedError("the training was terminated; the same command resumes it from its last epoch") from error
    console.print(f"wrote the bundle {bundle.partition} to {out}; measure it with cxr evaluate {out} DATASET...")


def _weights(given: str) -> tuple[str, str]:
    network, separator, file = given.partition("=")
    if not (network and separator and file):
        raise click.UsageError(f"--pretrained: expected NETWORK=FILE; got {given!r}")
    return network, file


def _recipe_table() -> Table:
    from rich.table import Table

    from cxrlib.training.recipe import load_recipe, recipe_names

    table = Table("Recipe", "Network", "Outputs", "Training", title="Included recipes", title_justify="left")
    for name in recipe_names():
        recipe = load_recipe(name)
        for place, network in enumerate(recipe.networks):
            epochs = f"{network.all_epochs} epochs"
            table.add_row("" if place else name, network.architecture, ", ".join(network.outputs), epochs)
        table.add_section()
    return table


def _encoder_table(recipe: str | None) -> Table:
    from rich.table import Table

    from cxrlib.training.encoders import encoder_starts
    from cxrlib.training.recipe import load_recipe, recipe_names

    heads = ("Recipe", "Network", "Encoder", "Starts from", "Weights may come from")
    table = Table(*heads, title="Encoders", title_justify="left")
    for name in recipe_names() if recipe is None else [recipe]:
        for place, start in enumerate(encoder_starts(load_recipe(name))):
            table.add_row("" if place else name, start.option, start.encoder, start.starts_from, start.source)
        table.add_section()
    return table
