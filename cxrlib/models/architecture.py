"""What the catalog says of an architecture, and how it is built. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxrlib.errors import BundleError

if TYPE_CHECKING:
    from torch import nn


class Status(StrEnum):
    """How far an architecture has been taken in this project."""

    SHIPPED = "ships trained"
    RECIPE = "trained by its recipe"
    RIVAL = "built and tested; no recipe"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build an architecture: arguments and what they amount to.

    Attributes
    ----------
    arguments : mapping
        As a card gives them.
    parameters : int
        Trainable parameters of the network built here; a test counts them.
    paper_millions : float or None
        Trainable parameters that the paper prints, in millions, with the paper's own decimals; None where it prints
        none.
    """

    arguments: Mapping[str, Any]
    parameters: int
    paper_millions: float | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """One entry of the catalog.

    Attributes
    ----------
    name : str
        As a card names it.
    paper : str
        Short name of the paper it comes from, or ``ours``.
    system : str
        What the paper calls it, and what for.
    description : str
    outputs : tuple of str
        Outputs it can give: ``lung``, ``infection``, ``classes``. An argument ``output`` chooses where it gives one.
    builder : str
        ``module:function`` that builds it; called with the card's arguments.
    side : int
        Rows and columns of the paper's input, in pixels.
    variants : tuple of Variant
        The ways the paper builds it; the first is the one the recipe uses.
    recipe : str or None
        The recipe that trains it.
    status : Status
    localisation_layer : str or None
        Dotted path, inside the built network, of the module whose output is the deepest feature map (films, channels,
        rows, columns): what Grad-CAM explains a class by.
    """

    name: str
    paper: str
    system: str
    description: str
    outputs: tuple[str, ...]
    builder: str
    side: int
    variants: tuple[Variant, ...] = field(default=())
    recipe: str | None = None
    status: Status = Status.RIVAL
    localisation_layer: str | None = None

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Build the network with random weights.

        It maps a float tensor (films, 1, rows, columns), normalised as the card says, to a dict of logits:
        ``lung`` and ``infection`` of shape (films, rows, columns), ``classes`` of shape (films, classes).

        Raises
        ------
        BundleError
            The arguments are not what the architecture takes.
        """
        module, _, function = self.builder.partition(":")
        builder = getattr(import_module(module), function)
        try:
            network: nn.Module = builder(**arguments)
        except (TypeError, ValueError) as error:
            raise BundleError(f"architecture {self.name}: arguments {dict(arguments)} do not fit: {error}") from error
        return network
