"""`cxr train`: from a recipe and labelled films to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxr_flows.cli.console import debug_option, people

if TYPE_CHECKING:
    from rich.table import Table


@click.command()
@click.argument("recipe", required=False)
@click.option("--list", "list_recipes", is_flag=True, help="List the recipes that ship.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the data sets.")
@click.option("--out", metavar="URI", help="Folder the bundle is written to.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps checkpoints, history and learning curves; a training that was killed goes on from here.  "
    "[default: runs/RECIPE]",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Train each network for at most so many epochs.")
@click.option("--films", type=click.IntRange(min=2), help="Train each network on at most so many films.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop after the epoch in which this time is over; the networks share it. Run again to go on.",
)
@click.option(
    "--pretrained",
    multiple=True,
    metavar="NETWORK=FILE",
    help="Start a network's encoder from the weights in a safetensors file; may be given several times.",
)
@debug_option
def train(
    recipe: str | None,
    list_recipes: bool,
    data: Path | None,
    out: str | None,
    work: Path | None,
    epochs: int | None,
    films: int | None,
    minutes: float | None,
    pretrained: tuple[str, ...],
) -> None:
    """Train RECIPE (a name that ships, or a TOML file) on the data sets below --data and write a bundle to --out.

    --epochs, --films and --minutes shorten the training, and the bundle's card then says so. Weights are never fetched:
    where a paper starts from ImageNet weights, give them by --pretrained, or the card says that there were none.

    \b
    Example:
      cxr train default --data ../shared/data --out ./my-bundle
      cxr evaluate ./my-bundle ../shared/data/covid-qu-ex
      cxr score ./films --bundle ./my-bundle --out ./results
    """
    from cxrlib.training.recipe import load_recipe

    console = people()
    if list_recipes:
        console.print(_recipe_table())
        return
    if recipe is None or data is None or out is None:
        raise click.UsageError("expected RECIPE, --data and --out (or --list)")
    weights = dict(_weights(given) for given in pretrained)
    plan = load_recipe(recipe)

    import logging

    from cxrlib.training.train import train as run

    # Lightning tells which accelerators it did not find and what else it sells.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
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
    console.print(f"bundle {bundle.partition} is in {out}; measure it: cxr evaluate {out} DATASET...")


def _weights(given: str) -> tuple[str, str]:
    network, separator, file = given.partition("=")
    if not (network and separator and file):
        raise click.UsageError(f"--pretrained: expected NETWORK=FILE; got {given!r}")
    return network, file


def _recipe_table() -> Table:
    from rich.table import Table

    from cxrlib.training.recipe import load_recipe, recipe_names

    table = Table("Recipe", "Network", "Gives", "Trained for", title="Recipes that ship", title_justify="left")
    for name in recipe_names():
        recipe = load_recipe(name)
        for place, network in enumerate(recipe.networks):
            epochs = f"{network.all_epochs} epochs"
            table.add_row("" if place else name, network.architecture, ", ".join(network.outputs), epochs)
        table.add_section()
    return table
