"""What a bundle's card says of its networks, in words: what each reads and gives, and how they work together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr_schemas import Card
from cxr_schemas.card import Network

if TYPE_CHECKING:
    from rich.table import Table

_OUTPUTS = ("lung", "infection", "classes")


def scheme(card: Card) -> str:
    """Say how the networks work together: one, parallel or cascaded, and which outputs are of an ensemble."""
    later = [network.name for network in card.networks if network.reads == "lung_masked_film"]
    if later:
        before = ", ".join(_givers(card, "lung"))
        parts = [f"cascade: {', '.join(later)} read{'s' if len(later) == 1 else ''} the lung that {before} found"]
    else:
        parts = ["one network" if len(card.networks) == 1 else "parallel: every network reads the film"]
    for output in _OUTPUTS:
        givers = _givers(card, output)
        if len(givers) > 1:
            parts.append(f"ensemble: {output} is the mean of {', '.join(givers)}")
    return "; ".join(parts)


def localisation(card: Card) -> str:
    """Say what is localised, and by what."""
    found = card.localisation
    if found is None:
        return "none"
    return (
        f"Grad-CAM of the {found.explains} class, at layer {found.layer} of {found.network}; counts above "
        f"{found.threshold:g}"
    )


def network_table(card: Card) -> Table:
    """Return a table of the networks, in the order in which they run."""
    from rich.table import Table

    table = Table("Network", "Architecture", "Reads", "Gives")
    for network in card.networks:
        arguments = ", ".join(f"{name}={value}" for name, value in network.arguments.items())
        built = f"{network.architecture} ({arguments})" if arguments else network.architecture
        table.add_row(network.name, built, _reads(card, network), ", ".join(network.outputs))
    return table


def _givers(card: Card, output: str) -> list[str]:
    return [network.name for network in card.networks if output in network.outputs]


def _reads(card: Card, network: Network) -> str:
    own = card.input_of(network)
    what = "lung-masked film" if network.reads == "lung_masked_film" else "film"
    return f"{what}, {own.rows} x {own.columns}, mean {own.mean:g}, std {own.std:g}"
