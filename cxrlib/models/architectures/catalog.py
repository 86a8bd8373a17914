"""The catalog of architectures that a bundle card may name.

The entries are in ``catalog.toml`` beside this module, which also lists the arguments that each architecture takes.
Importing this module imports no torch; building a network does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import import_module
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cxrlib.errors import BundleError
from cxrlib.models.bundle import SHIPPED

if TYPE_CHECKING:
    from torch import nn

_FILE: Final = "catalog.toml"
_DEPARTURES: Final = "departures"


class TrainingStatus(StrEnum):
    """How far a variant has been taken in this project."""

    SHIPPED = "ships trained"
    RECIPE = "trained by its recipe"
    COMPARED = "built for the paper's comparison"

    @property
    def meaning(self) -> str:
        """What the status says about recipe and weights."""
        return {
            TrainingStatus.SHIPPED: "its trained weights ship in a bundle",
            TrainingStatus.RECIPE: "a recipe that trains it exists, but no weights ship",
            TrainingStatus.COMPARED: "it can be built, but neither a recipe nor weights ship",
        }[self]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Entry):
    """One way to build an architecture.

    Attributes
    ----------
    label : str
        Name of the variant in the paper; empty if the architecture has one variant only.
    arguments : mapping
        Arguments of the builder, as a card states them.
    parameters : int
        Number of parameters of the network built here, counted as the paper counts. A test checks it.
    paper_millions : Decimal or None
        Number of parameters that the paper prints, in millions and with its digits; None if it prints none.
    recipe : str or None
        Name of the recipe that trains this variant.
    """

    label: str = ""
    arguments: Mapping[str, Any] = Field(default_factory=dict)
    parameters: int = Field(gt=0)
    paper_millions: Decimal | None = None
    recipe: str | None = None

    @property
    def status(self) -> TrainingStatus:
        """Whether trained weights ship, a recipe exists, or neither. A shipped bundle has the name of its recipe."""
        if self.recipe is None:
            return TrainingStatus.COMPARED
        return TrainingStatus.SHIPPED if self.recipe in SHIPPED else TrainingStatus.RECIPE


class Architecture(_Entry):
    """One entry of the catalog.

    Attributes
    ----------
    name : str
        Name that a card uses.
    paper : str
        Short name of the paper that describes it, or ``ours``.
    system : str
        Its role in the paper's system.
    description : str
    outputs : tuple of str
        Outputs that it can give: ``lung``, ``infection``, ``classes``. If it has an argument ``output``, that argument
        selects one.
    builder : str
        ``module:function`` that builds it; called with the card's arguments.
    side : int
        Rows and columns of the paper's input, in pixels.
    variants : tuple of Variant
        The ways in which the paper builds it. The first is the one that the paper's system uses.
    encoders : tuple of str
        Names of its encoders, if no argument selects them.
    localisation_layer : str or None
        Dotted path, inside the built network, of the module whose output is the deepest feature map (films, channels,
        rows, columns). Grad-CAM explains a class by it.
    counts_statistics : bool
        Whether the paper's counts include the running means and variances of batch norms, as Keras counts. Otherwise
        they are trainable parameters only.
    """

    name: str
    paper: str
    system: str
    description: str
    outputs: tuple[Literal["lung", "infection", "classes"], ...] = Field(min_length=1)
    builder: str = Field(pattern=r"^[\w.]+:\w+$")
    side: int = Field(gt=0)
    variants: tuple[Variant, ...] = Field(min_length=1)
    encoders: tuple[str, ...] = ()
    localisation_layer: str | None = None
    counts_statistics: bool = False

    def encoder_names(self, arguments: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the names of the encoders that a network has with these arguments; empty for one of its own.

        Examples
        --------
        >>> find_architecture("amalgam").encoder_names({})
        ('mobilenetv2', 'inceptionresnetv2')
        >>> find_architecture("qu-ex-fpn").encoder_names({"encoder": "resnet18"})
        ('resnet18',)
        """
        stated = {**self.variants[0].arguments, **arguments}
        if "encoders" in stated:
            return tuple(stated["encoders"])
        return (stated["encoder"],) if "encoder" in stated else self.encoders

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """Build the network with random weights.

        It maps a float tensor (films, 1, rows, columns), normalised as the card says, to a dict of logits:
        ``lung`` and ``infection`` of shape (films, rows, columns), ``classes`` of shape (films, classes).

        Raises
        ------
        BundleError
            The architecture does not take these arguments.
        """
        module, _, function = self.builder.partition(":")
        builder = getattr(import_module(module), function)
        try:
            network: nn.Module = builder(**arguments)
        except (TypeError, ValueError) as error:
            raise BundleError(
                f"architecture {self.name}: expected arguments that it takes; got {dict(arguments)}: {error}"
            ) from error
        return network


@cache
def load_catalog() -> Mapping[str, Architecture]:
    """Return all entries of the catalog by name; ``catalog.toml`` is read and validated once per process."""
    entries = {name: entry for name, entry in _read().items() if name != _DEPARTURES}
    return MappingProxyType({name: Architecture(name=name, **entry) for name, entry in entries.items()})


@cache
def load_departures() -> Mapping[str, tuple[str, ...]]:
    """Return, by the paper's short name, where the bundles of our recipes depart from the paper. One text each."""
    return MappingProxyType({paper: tuple(texts) for paper, texts in _read()[_DEPARTURES].items()})


def _read() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))


def find_architecture(name: str) -> Architecture:
    """Return the entry called `name`.

    Raises
    ------
    BundleError
        The catalog has no such entry; the message lists those that it has.

    Examples
    --------
    >>> find_architecture("hybrid-coatnet").outputs
    ('classes',)
    """
    catalog = load_catalog()
    if name not in catalog:
        raise BundleError(f"expected an architecture of the catalog ({', '.join(sorted(catalog))}); got {name!r}")
    return catalog[name]
