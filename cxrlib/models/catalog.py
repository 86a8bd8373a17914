"""The catalog of architectures a bundle card may name. Importing it imports no torch; building a network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from cxrlib.errors import BundleError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Architecture:
    """One entry of the catalog.

    Attributes
    ----------
    name : str
        As a card names it.
    paper : str
        Short name of the paper it comes from, or ``ours``.
    description : str
    outputs : tuple of str
        Outputs it can give: ``lung``, ``infection``, ``classes``.
    builder : str
        ``module:function`` that builds it; called with the card's arguments.
    """

    name: str
    paper: str
    description: str
    outputs: tuple[str, ...]
    builder: str

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Build the network with random weights.

        It maps a float tensor (films, 1, rows, columns), normalised as the card says, to a dict of logits:
        ``lung`` and ``infection`` of shape (films, rows, columns), ``classes`` of shape (films, classes).
        """
        module, _, function = self.builder.partition(":")
        try:
            network: nn.Module = getattr(import_module(module), function)(**arguments)
        except TypeError as error:
            raise BundleError(f"architecture {self.name}: arguments {dict(arguments)} do not fit: {error}") from error
        return network


CATALOG: Final[Mapping[str, Architecture]] = {
    entry.name: entry
    for entry in (
        Architecture(
            name="multitask-unet",
            paper="ours",
            description="One light encoder, one U-Net decoder for lung and infection, one class head: one pass a film.",
            outputs=("lung", "infection", "classes"),
            builder="cxrlib.models.multitask:build",
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Return the entry called `name`; the error lists what there is."""
    try:
        return CATALOG[name]
    except KeyError:
        raise BundleError(f"no architecture {name!r} in the catalog; it has {', '.join(sorted(CATALOG))}") from None
