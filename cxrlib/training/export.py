"""Write trained networks as a bundle. Its card states the training data and every departure from the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from cxr_schemas import Card
from cxr_schemas.card import NetworkSpec, TrainingData
from cxrlib.models.bundle import Bundle, write_bundle
from cxrlib.models.inference.openvino_convert import convert_networks
from cxrlib.training.film_selection import ChosenFilm
from cxrlib.training.history import StopReason
from cxrlib.training.recipe import CLASSES, IMAGENET, NetworkPlan, Recipe


@dataclass(frozen=True, slots=True, eq=False)
class TrainedNetwork:
    """One network after its training.

    Attributes
    ----------
    plan : NetworkPlan
        The plan of the recipe, before it was shortened.
    weights : bytes
        Safetensors.
    chosen : sequence of ChosenFilm
        Training films and held-out films.
    epochs : int
        Epochs trained.
    ended : StopReason
    started_from : mapping of str to str
        Weights that its encoders started from, by encoder; empty for random weights.
    """

    plan: NetworkPlan
    weights: bytes
    chosen: Sequence[ChosenFilm]
    epochs: int
    ended: StopReason
    started_from: Mapping[str, str]


def network_weights(network: nn.Module) -> bytes:
    """Return a network's state as safetensors. Kernels are stored as float16 to halve the file.

    Norms and their running statistics stay float32 because a variance may exceed the range of float16.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in network.state_dict().items():
        kernel = tensor.ndim > 1 and tensor.is_floating_point()
        state[name] = tensor.detach().cpu().to(torch.float16 if kernel else tensor.dtype).contiguous()
    return safetensors.torch.save(state)


def export_bundle(recipe: Recipe, trained: Sequence[TrainedNetwork], most_films: int | None, uri: str) -> Bundle:
    """Write trained networks as one bundle to `uri`, with their OpenVINO graphs.

    The limits on the card state where the training departed from its recipe: fewer epochs or films, other data, random
    instead of pretrained weights. Its `departures` state where the recipe departs from its paper.
    """
    files = {_weights_file(recipe, network.plan): network.weights for network in trained}
    outputs = {output for network in trained for output in network.plan.outputs}
    departures = departures_from(recipe, trained, most_films)
    limits = recipe.bundle.limits + "".join(f" {departure}" for departure in departures)
    card = Card(
        bundle=recipe.bundle.model_copy(update={"limits": limits}),
        input=recipe.input,
        networks=tuple(_on_card(recipe, network.plan) for network in trained),
        classes=CLASSES if "classes" in outputs else (),
        localisation=recipe.localisation,
        postprocess=recipe.postprocess,
        training=training_data(recipe, trained),
        departures=recipe.departures,
    )
    return write_bundle(uri, card, {**files, **convert_networks(card, files)})


def training_data(recipe: Recipe, trained: Sequence[TrainedNetwork]) -> tuple[TrainingData, ...]:
    """Return the training data for the card: each data set used, with its number of different films."""
    films: dict[str, set[Path]] = {}
    for network in trained:
        for film in network.chosen:
            films.setdefault(film.dataset, set()).add(film.sample.image)
    real = [
        TrainingData(dataset=plan.folder, films=len(films[name]), licence=plan.licence, note=plan.note)
        for name, plan in recipe.data.items()
        if name in films
    ]
    phantoms = {
        (network.plan.phantoms.count, network.plan.phantoms.seed) for network in trained if network.plan.phantoms.count
    }
    drawn = [
        TrainingData(dataset="phantom", films=count, licence="Apache-2.0", note=f"seed {seed}")
        for count, seed in sorted(phantoms)
    ]
    return (*real, *drawn)


def departures_from(recipe: Recipe, trained: Sequence[TrainedNetwork], most_films: int | None) -> list[str]:
    """Return one sentence per departure of a training from its recipe; empty if there is none."""
    sentences = []
    shortened = [
        f"{network.plan.name} {network.epochs} of {network.plan.all_epochs} epochs"
        + (f" ({network.ended})" if network.ended is StopReason.TIME else "")
        for network in trained
        if network.epochs < network.plan.all_epochs and network.ended is not StopReason.EARLY_STOP
    ]
    if shortened:
        sentences.append(f"Training was shortened: {', '.join(shortened)}.")
    if most_films is not None:
        sentences.append(f"Each network was trained on at most {most_films} films.")
    for network in trained:
        used = dict.fromkeys(film.dataset for film in network.chosen)
        if not set(used) & set(network.plan.data):
            folders = " and ".join(recipe.data[name].folder for name in used)
            wanted = " and ".join(recipe.data[name].folder for name in network.plan.data)
            sentences.append(f"Network {network.plan.name} was trained on {folders} in place of {wanted}.")
        if network.plan.pretrained == IMAGENET and not network.started_from:
            sentences.append(f"The encoder of {network.plan.name} started from random weights in place of ImageNet's.")
    return sentences


def _on_card(recipe: Recipe, plan: NetworkPlan) -> NetworkSpec:
    return NetworkSpec(
        name=plan.name,
        architecture=plan.architecture,
        arguments=plan.arguments,
        weights=_weights_file(recipe, plan),
        outputs=plan.outputs,
        reads=plan.reads,
        input=plan.input,
    )


def _weights_file(recipe: Recipe, plan: NetworkPlan) -> str:
    return "weights.safetensors" if len(recipe.networks) == 1 else f"{plan.name}.safetensors"
