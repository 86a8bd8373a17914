"""`cxr models`: list and show bundles and architectures, without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cxr_flows.cli.console import debug_option, json_option, print_json, text_console
from cxr_flows.cli.options import LOCATION

if TYPE_CHECKING:
    from cxrlib.models.architectures.catalog import Variant
    from cxrlib.models.bundle import Bundle


@click.group(
    epilog="""\b
Examples:
  cxr models list
  cxr models show default
  cxr models show s3://models/v2 --json
"""
)
def models() -> None:
    """List the included model bundles and the architectures, or show the card of one bundle."""


@models.command(
    "list",
    epilog="""\b
Example:
  cxr models list
""",
)
@json_option
@debug_option
def list_models(as_json: bool) -> None:
    """List the included bundles, and the architectures that a bundle may name."""
    from cxrlib.models.architectures.catalog import TrainingStatus, load_catalog, load_departures
    from cxrlib.models.bundle import SHIPPED, load_bundle

    bundles = {name: load_bundle(name) for name in SHIPPED}
    if as_json:
        print_json(
            {
                "bundles": [_identity(name, bundle) for name, bundle in bundles.items()],
                "architectures": [
                    {
                        "name": entry.name,
                        "paper": entry.paper,
                        "outputs": list(entry.outputs),
                        "description": entry.description,
                        "side": entry.side,
                        "variants": [_variant(variant) for variant in entry.variants],
                    }
                    for entry in load_catalog().values()
                ],
                "statuses": {status.value: status.meaning for status in TrainingStatus},
                "departures": {paper: list(texts) for paper, texts in load_departures().items()},
            }
        )
        return
    from rich.table import Table

    shipped = Table("Bundle", "Version", "Digest", "Networks", "Description", title="Bundles", title_justify="left")
    for name, bundle in bundles.items():
        card = bundle.card
        networks = ", ".join(network.architecture for network in card.networks)
        shipped.add_row(name, card.bundle.version, bundle.digest[:8], networks, card.bundle.description)
    heads = ("Architecture", "Paper", "Outputs", "Parameters", "Recipes", "Description")
    catalog = Table(*heads, title="Architectures", title_justify="left")
    for entry in load_catalog().values():
        counts = sorted(variant.parameters / 1e6 for variant in entry.variants)
        recipes = [variant.recipe for variant in entry.variants if variant.recipe]
        size = f"{counts[0]:.1f} M" if len(counts) == 1 else f"{counts[0]:.1f} to {counts[-1]:.1f} M"
        catalog.add_row(entry.name, entry.paper, ", ".join(entry.outputs), size, ", ".join(recipes), entry.description)
    departures = Table("Paper", "Departure", title="Departures of our recipes from the papers", title_justify="left")
    for paper, texts in load_departures().items():
        for place, text in enumerate(texts):
            departures.add_row("" if place else paper, text)
    console = text_console()
    console.print(shipped)
    console.print(catalog)
    console.print(
        f"{TrainingStatus.RECIPE.value}: {TrainingStatus.RECIPE.meaning}. Weights ship only for {', '.join(SHIPPED)}."
    )
    console.print(departures)
    console.print("`cxr models show NAME` prints the card of a bundle; NAME may also be the URI of your own bundle.")


@models.command(
    "show",
    epilog="""\b
Example:
  cxr models show default
""",
)
@click.argument("bundle", default="default", type=LOCATION)
@json_option
@debug_option
def show_model(bundle: str, as_json: bool) -> None:
    """Show the card of BUNDLE: intended use, limits, networks, training data, accuracy, departures from its paper."""
    from cxrlib.models.bundle import load_bundle
    from cxrlib.models.inference.choose_engine import engine_on_cpu

    loaded = load_bundle(bundle)
    if as_json:
        engines = {network.name: engine_on_cpu(loaded, network) for network in loaded.card.networks}
        print_json({"digest": loaded.digest, "card": loaded.card.model_dump(mode="json"), "engines_on_cpu": engines})
        return
    from rich.table import Table

    from cxr_flows.cli.models.describe_networks import localisation, network_table, scheme

    card, console = loaded.card, text_console()
    facts = Table(show_header=False, box=None)
    for label, value in {
        "Bundle": f"{card.bundle.name} {card.bundle.version}",
        "Digest": loaded.digest,
        "Description": card.bundle.description,
        "Intended use": card.bundle.intended_use,
        "Limits": card.bundle.limits,
        **({"Departures": "\n".join(card.departures)} if card.departures else {}),
        "Licence": card.bundle.licence,
        "Input": f"{card.input.rows} x {card.input.columns}, {card.input.batch} films per batch",
        "Scheme": scheme(card),
        "Localisation": localisation(card),
        "Grades (%)": f"mild > 0, moderate >= {card.grades.moderate:g}, severe >= {card.grades.severe:g}, "
        f"critical >= {card.grades.critical:g}",
    }.items():
        facts.add_row(label, value)
    console.print(facts)
    console.print(network_table(loaded))
    if card.training:
        trained = Table("Trained on", "Films", "Licence", "Note")
        for source in card.training:
            trained.add_row(source.dataset, str(source.films), source.licence, source.note)
        console.print(trained)
    if card.metrics:
        from cxr_flows.cli.models.evaluate import figure_table

        console.print(figure_table(card.metrics))


def _variant(variant: Variant) -> dict[str, Any]:
    return {
        "label": variant.label,
        "arguments": dict(variant.arguments),
        "parameters": variant.parameters,
        "paper_millions": None if variant.paper_millions is None else float(variant.paper_millions),
        "recipe": variant.recipe,
        "status": variant.status.value,
    }


def _identity(name: str, bundle: Bundle) -> dict[str, Any]:
    identity = bundle.card.bundle
    return {
        "name": name,
        "version": identity.version,
        "digest": bundle.digest,
        "description": identity.description,
        "networks": [network.architecture for network in bundle.card.networks],
    }
