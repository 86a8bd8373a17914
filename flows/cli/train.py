"""`cxr train`: from a recipe and labelled films to a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from flows.cli.console import debug_option, people


@click.command()
@click.argument("recipe", required=False)
@click.option("--list", "list_recipes", is_flag=True, help="List the recipes that ship.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of the data sets.")
@click.option("--out", metavar="URI", help="Folder the bundle is written to.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps checkpoints and the history; a training that was killed goes on from here.  [default: runs/RECIPE]",
)
@debug_option
def train(recipe: str | None, list_recipes: bool, data: Path | None, out: str | None, work: Path | None) -> None:
    """Train RECIPE (a name that ships, or a TOML file) on the data sets below --data and write a bundle to --out.

    \b
    Example:
      cxr train default --data ../shared/data --out ./my-bundle
      cxr evaluate ./my-bundle ../shared/data/covid-qu-ex
      cxr score ./films --bundle ./my-bundle --out ./results
    """
    from cxrlib.training.recipe import load_recipe, recipe_names

    console = people()
    if list_recipes:
        for name in recipe_names():
            console.print(f"{name}: {load_recipe(name).bundle.description}")
        return
    if recipe is None or data is None or out is None:
        raise click.UsageError("expected RECIPE, --data and --out (or --list)")
    from cxrlib.training.train import train as run

    plan = load_recipe(recipe)
    bundle = run(plan, data, work or Path("runs") / plan.bundle.name, out, report=console.print)
    console.print(f"bundle {bundle.partition} is in {out}; measure it: cxr evaluate {out} DATASET...")
