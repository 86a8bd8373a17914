"""What the catalog says of an architecture, and how it is built. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

from cxrlib.errors import BundleError
from cxrlib.models.bundle import SHIPPED

if TYPE_CHECKING:
    from torch import nn


class TrainingStatus(StrEnum):
    """How far a variant has been taken in this project."""

    SHIPPED = "ships trained"
    RECIPE = "trained by its recipe"
    COMPARED = "built for the paper's comparison"


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to build an architecture, and what it amounts to.

    Attributes
    ----------
    label : str
        What tells it from the other variants, as the paper names it; empty where there is one.
    arguments : mapping
        As a card gives them.
    parameters : int
        Parameters of the network built here, counted as the paper counts; a test counts them.
    paper_millions : Decimal or None
        Parameters that the paper prints, in millions, with the digits it prints; None where it prints none.
    recipe : str or None
        The recipe that trains it.
    """

    label: str
    arguments: Mapping[str, Any]
    parameters: int
    paper_millions: Decimal | None = None
    recipe: str | None = None

    @property
    def status(self) -> TrainingStatus:
        """Shipped if its recipe made a bundle that ships (a bundle has the name of its recipe)."""
        if self.recipe is None:
            return TrainingStatus.COMPARED
        return TrainingStatus.SHIPPED if self.recipe in SHIPPED else TrainingStatus.RECIPE


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
        What it does in the paper's system.
    description : str
    outputs : tuple of str
        Outputs it can give: ``lung``, ``infection``, ``classes``. Where it has an argument ``output``, that chooses.
    builder : str
        ``module:function`` that builds it; called with the card's arguments.
    side : int
        Rows and columns of the paper's input, in pixels.
    variants : tuple of Variant
        The ways the paper builds it; the first is the one that its system is made of.
    localisation_layer : str or None
        Dotted path, inside the built network, of the module whose output is the deepest feature map (films, channels,
        rows, columns): what Grad-CAM explains a class by.
    counts_statistics : bool
        Whether the paper's counts take in the running means and variances of the norms, as Keras does; they are
        trainable parameters alone otherwise.
    """

    name: str
    paper: str
    system: str
    description: str
    outputs: tuple[str, ...]
    builder: str
    side: int
    variants: tuple[Variant, ...]
    localisation_layer: str | None = None
    counts_statistics: bool = False

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
