"""Train a recipe: each network in turn, then one bundle of them. A training that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import seed_everything
from torch import nn

from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import find_architecture
from cxrlib.models.bundle import Bundle
from cxrlib.training.callback import LAST_FILE
from cxrlib.training.export import TrainedNetwork, export_bundle, network_weights
from cxrlib.training.film_selection import ChosenFilm, choose_films
from cxrlib.training.fit import exported_state, fit, saved_history
from cxrlib.training.history import StopReason, stop_reason
from cxrlib.training.hyperparameters import OneCycle
from cxrlib.training.pretrained import encoder_weights, load_encoder
from cxrlib.training.recipe import IMAGENET, NetworkPlan, Recipe
from cxrlib.training.training_films import TrainingFilms, read_films

_LOG = logging.getLogger(__name__)

_PLAN_FILE: Final = "plan.json"


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One network's part of the training.

    `plan` is that of the recipe, perhaps with fewer epochs; `over` says why an earlier start has ended it already.
    """

    plan: NetworkPlan
    chosen: Sequence[ChosenFilm]
    folder: Path
    started_from: str | None
    over: StopReason | None


def train(
    recipe: Recipe,
    data: Path,
    work: Path,
    out: str,
    *,
    epochs: int | None = None,
    films: int | None = None,
    minutes: float | None = None,
    pretrained: Mapping[str, str] | None = None,
    report: Callable[[str], None] = _LOG.info,
) -> Bundle:
    """Train `recipe` on the data sets below `data` and write the bundle to `out`.

    Parameters
    ----------
    work : Path
        One folder a network: its newest checkpoint, from which a training that was killed or ran out of time is taken
        up again, its best one, its history (``history.csv``) and its learning curve (``curve.png``).
    epochs, films : int, optional
        Train each network for at most so many epochs, on at most so many films; the card then says so.
    minutes : float, optional
        End each network after the epoch in which its part of this time is over, and export what there is. Taken up
        again, the training goes on from there.
    pretrained : mapping of str to str, optional
        Encoder weights by name of network, in place of what the recipe says: a safetensors file, or the name of an
        installed weight package.
    report : callable
        Told in one line what is being done.

    Raises
    ------
    UsageError
        Data are missing, `work` holds another training, or a loss is no longer finite.
    """
    parts = [
        _part(recipe, plan, data=data, work=work, epochs=epochs, films=films, pretrained=pretrained or {})
        for plan in recipe.networks
    ]
    unknown = sorted(set(pretrained or {}) - {part.plan.name for part in parts})
    if unknown:
        known = ", ".join(part.plan.name for part in parts)
        raise UsageError(f"expected encoder weights for networks among {known}; got {', '.join(unknown)}")
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    trained = []
    for place, part in enumerate(parts):
        ended = part.over
        if ended is None:
            left = sum(later.plan.share for later in parts[place:] if later.over is None)
            now = time.monotonic()
            deadline = None if ends is None else now + (ends - now) * part.plan.share / left
            ended = _train_network(recipe, part, deadline, report)
        else:
            report(f"{part.plan.name}: {ended}; nothing to do")
        trained.append(_trained(recipe, part, ended))
    return export_bundle(recipe, trained, films, out)


def _part(
    recipe: Recipe,
    network: NetworkPlan,
    *,
    data: Path,
    work: Path,
    epochs: int | None,
    films: int | None,
    pretrained: Mapping[str, str],
) -> _Part:
    plan = network if epochs is None else network.shortened(epochs)
    chosen = choose_films(recipe, plan, data, films)
    started_from = pretrained.get(plan.name, None if plan.pretrained == IMAGENET else plan.pretrained)
    folder = work / plan.name
    _claim(folder, _identity(recipe, plan, chosen, started_from))
    return _Part(plan, chosen, folder, started_from, stop_reason(saved_history(folder), plan))


def _identity(
    recipe: Recipe, plan: NetworkPlan, chosen: Sequence[ChosenFilm], started_from: str | None
) -> dict[str, Any]:
    """Return all that a network's training depends on, so that no other one is taken up in its place."""
    # More epochs only prolong a training, unless its rate runs over all of them or its image size depends on them.
    prolongs = not isinstance(plan.schedule, OneCycle) and not plan.stages
    films = "\n".join(f"{film.dataset} {film.sample.image.name} {film.held_out} {film.repeats}" for film in chosen)
    return {
        "seed": recipe.seed,
        "input": recipe.input_of(plan).model_dump(mode="json"),
        "network": plan.model_dump(mode="json", exclude={"share", *(("epochs",) if prolongs else ())}),
        "started_from": started_from,
        "films": hashlib.sha256(films.encode()).hexdigest(),
    }


def _claim(folder: Path, identity: dict[str, Any]) -> None:
    """Note in a work folder which training it is of; refuse it if it holds the checkpoint of another."""
    path = folder / _PLAN_FILE
    if (folder / LAST_FILE).exists():
        got = json.loads(path.read_text()) if path.exists() else {}
        differ = sorted(key for key in identity if got.get(key) != identity[key])
        if differ:
            raise UsageError(
                f"{folder} holds a training that differs in {', '.join(differ)}; expected the same recipe, films and "
                "starting weights, to go on with it. Name another work folder, or remove this one"
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(identity, indent=1) + "\n")


def _train_network(recipe: Recipe, part: _Part, deadline: float | None, report: Callable[[str], None]) -> StopReason:
    plan, reads = part.plan, recipe.input_of(part.plan)
    seed_everything(recipe.seed, verbose=False)
    training, held_out = read_films(plan, part.chosen, reads.rows, reads.columns)
    report(
        f"{plan.name}: {len(training)} films an epoch, {len(held_out)} held out, {plan.all_epochs} epochs, "
        f"encoder from {part.started_from or 'random weights'}"
    )
    network = find_architecture(plan.architecture).build(plan.arguments)
    if part.started_from is not None:
        load_encoder(network, encoder_weights(part.started_from))
    return fit(
        plan,
        reads,
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        training=TrainingFilms(training, plan.augmentation, recipe.seed),
        held_out=TrainingFilms(held_out, None, recipe.seed),
        folder=part.folder,
        deadline=deadline,
        report=report,
    )


def _trained(recipe: Recipe, part: _Part, ended: StopReason) -> TrainedNetwork:
    network: nn.Module = find_architecture(part.plan.architecture).build(part.plan.arguments)
    network.load_state_dict(exported_state(part.plan, part.folder))
    (whole,) = (plan for plan in recipe.networks if plan.name == part.plan.name)
    return TrainedNetwork(
        plan=whole,
        weights=network_weights(network),
        chosen=part.chosen,
        epochs=len(saved_history(part.folder)),
        ended=ended,
        started_from=part.started_from,
    )
