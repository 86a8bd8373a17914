"""Describe the networks of a bundle from its card: the input and outputs of each, and how they are combined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr_schemas import Card
from cxr_schemas.card import NetworkSpec

if TYPE_CHECKING:
    from rich.table import Table

    from cxrlib.models.bundle import Bundle

_OUTPUTS = ("lung", "infection", "classes")


def scheme(card: Card) -> str:
    """Return how the networks are combined: one, parallel or cascaded, and which outputs an ensemble gives."""
    later = [network.name for network in card.networks if network.reads == "lung_masked_film"]
    if later:
        before = ", ".join(_sources(card, "lung"))
        parts = [f"cascade: {', '.join(later)} read{'s' if len(later) == 1 else ''} the lungs that {before} segmented"]
    else:
        parts = ["one network" if len(card.networks) == 1 else "parallel: every network reads the film"]
    for output in _OUTPUTS:
        sources = _sources(card, output)
        if len(sources) > 1:
            parts.append(f"ensemble: {output} is the mean of {', '.join(sources)}")
    return "; ".join(parts)


def localisation(card: Card) -> str:
    """Return which class is localised, and with which network and layer."""
    found = card.localisation
    if found is None:
        return "none"
    return (
        f"Grad-CAM of the {found.explains} class, at layer {found.layer} of {found.network}; threshold "
        f"{found.threshold:g}"
    )


def network_table(bundle: Bundle) -> Table:
    """Return a table of the networks, in the order in which they run."""
    from rich.table import Table

    from cxrlib.models.inference.choose_engine import engine_on_cpu

    card = bundle.card
    table = Table("Network", "Architecture", "Reads", "Gives", "On a CPU")
    for network in card.networks:
        arguments = ", ".join(f"{name}={value}" for name, value in network.arguments.items())
        built = f"{network.architecture} ({arguments})" if arguments else network.architecture
        gives, engine = ", ".join(network.outputs), engine_on_cpu(bundle, network)
        table.add_row(network.name, built, _reads(card, network), gives, engine)
    return table


def _sources(card: Card, output: str) -> list[str]:
    return [network.name for network in card.networks if output in network.outputs]


def _reads(card: Card, network: NetworkSpec) -> str:
    own = card.input_of(network)
    what = "lung-masked film" if network.reads == "lung_masked_film" else "film"
    return f"{what}, {own.rows} x {own.columns}, mean {own.mean:g}, std {own.std:g}"
