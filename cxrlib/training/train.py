"""Train a recipe: train each network in turn, then export one bundle. An interrupted training is resumed."""

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
from cxrlib.training.encoders import ONLY_ENCODER, encoder_options, starting_weights
from cxrlib.training.export import TrainedNetwork, export_bundle, network_weights
from cxrlib.training.film_selection import ChosenFilm, choose_films
from cxrlib.training.fit import exported_state, fit, saved_history
from cxrlib.training.history import StopReason, stop_reason
from cxrlib.training.hyperparameters import OneCycle
from cxrlib.training.pretrained import check_encoders, load_encoders
from cxrlib.training.recipe import NetworkPlan, Recipe
from cxrlib.training.training_films import TrainingFilms, read_films

_LOG = logging.getLogger(__name__)

_PLAN_FILE: Final = "plan.json"


@dataclass(frozen=True, slots=True, eq=False)
class _NetworkTraining:
    """The training of one network.

    `plan` is the recipe's plan, possibly with fewer epochs. `started_from` holds the weights by encoder. `finished` is
    set if an earlier call completed it.
    """

    plan: NetworkPlan
    chosen: Sequence[ChosenFilm]
    folder: Path
    started_from: Mapping[str, str]
    finished: StopReason | None


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
    """Train `recipe` on the data sets in `data` and write the bundle to `out`.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder with the data sets.
    work : Path
        Holds one folder per network with its latest and best checkpoints, history (``history.csv``) and learning curve
        (``curve.png``). A training that was killed or ran out of time resumes from the latest checkpoint.
    out : str
        URI of the bundle.
    epochs, films : int, optional
        Largest number of epochs and training films per network. The card states the limit.
    minutes : float, optional
        Time limit. Each network stops after the epoch in which its share of the time is used up, and is exported as it
        is. A later call resumes the training.
    pretrained : mapping of str to str, optional
        Encoder weights, instead of the recipe's: a safetensors file, or the name of an installed weight package. The
        keys are network names, or ``NETWORK.ENCODER`` for a network of several encoders.
    report : callable
        Called with one line of text per step of the work.

    Raises
    ------
    UsageError
        Data or encoder weights are missing or do not fit, `work` holds a different training, or a loss is no longer
        finite.
    """
    options = [option for plan in recipe.networks for option in encoder_options(plan)]
    unknown = sorted(set(pretrained or {}) - set(options))
    if unknown:
        raise UsageError(f"expected encoder weights for networks among {', '.join(options)}; got {', '.join(unknown)}")
    trainings = [
        _prepare(recipe, plan, data=data, work=work, epochs=epochs, films=films, pretrained=pretrained or {})
        for plan in recipe.networks
    ]
    for training in trainings:
        if training.finished is None:
            check_encoders(training.plan, training.started_from)  # a wrong file of a later network ends here already
    end = None if minutes is None else time.monotonic() + 60 * minutes
    trained = []
    for index, training in enumerate(trainings):
        ended = training.finished
        if ended is None:
            left = sum(later.plan.share for later in trainings[index:] if later.finished is None)
            now = time.monotonic()
            deadline = None if end is None else now + (end - now) * training.plan.share / left
            ended = _train_network(recipe, training, deadline, report)
        else:
            report(f"{training.plan.name}: {ended}; nothing to do")
        trained.append(_load_trained(recipe, training, ended))
    return export_bundle(recipe, trained, films, out)


def _prepare(
    recipe: Recipe,
    network: NetworkPlan,
    *,
    data: Path,
    work: Path,
    epochs: int | None,
    films: int | None,
    pretrained: Mapping[str, str],
) -> _NetworkTraining:
    plan = network if epochs is None else network.shortened(epochs)
    chosen = choose_films(recipe, plan, data, films)
    started_from = starting_weights(plan, pretrained)
    folder = work / plan.name
    _claim_work_folder(folder, _identity(recipe, plan, chosen, started_from))
    return _NetworkTraining(plan, chosen, folder, started_from, stop_reason(saved_history(folder), plan))


def _identity(
    recipe: Recipe, plan: NetworkPlan, chosen: Sequence[ChosenFilm], started_from: Mapping[str, str]
) -> dict[str, Any]:
    """Return everything that a network's training depends on, so that a different one is not resumed by mistake."""
    # A training with more epochs can be resumed, unless its schedule or image size depends on the number of epochs.
    extendable = not isinstance(plan.schedule, OneCycle) and not plan.stages
    films = "\n".join(f"{film.dataset} {film.sample.image.name} {film.held_out} {film.repeats}" for film in chosen)
    return {
        "seed": recipe.seed,
        "input": recipe.input_of(plan).model_dump(mode="json"),
        "network": plan.model_dump(mode="json", exclude={"share", *(("epochs",) if extendable else ())}),
        "started_from": started_from.get(ONLY_ENCODER) if len(started_from) < 2 else dict(started_from),
        "films": hashlib.sha256(films.encode()).hexdigest(),
    }


def _claim_work_folder(folder: Path, identity: dict[str, Any]) -> None:
    """Write the training's identity to its work folder. Raise `UsageError` if it holds another's checkpoint."""
    path = folder / _PLAN_FILE
    if (folder / LAST_FILE).exists():
        got = json.loads(path.read_text()) if path.exists() else {}
        differ = sorted(key for key in identity if got.get(key) != identity[key])
        if differ:
            raise UsageError(
                f"expected the same recipe, films and starting weights to resume the training in {folder}; "
                f"got a difference in {', '.join(differ)}. Use another work folder, or remove this one"
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(identity, indent=1) + "\n")


def _train_network(
    recipe: Recipe, training: _NetworkTraining, deadline: float | None, report: Callable[[str], None]
) -> StopReason:
    plan, reads = training.plan, recipe.input_of(training.plan)
    seed_everything(recipe.seed, verbose=False)
    training_films, held_out = read_films(plan, training.chosen, reads.rows, reads.columns)
    report(
        f"{plan.name}: {len(training_films)} films per epoch, {len(held_out)} held out, {plan.all_epochs} epochs, "
        f"encoder from {' and '.join(training.started_from.values()) or 'random weights'}"
    )
    network = find_architecture(plan.architecture).build(plan.arguments)
    load_encoders(network, training.started_from)
    return fit(
        plan,
        reads,
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        training=TrainingFilms(training_films, plan.augmentation, recipe.seed),
        held_out=TrainingFilms(held_out, None, recipe.seed),
        folder=training.folder,
        deadline=deadline,
        report=report,
    )


def _load_trained(recipe: Recipe, training: _NetworkTraining, ended: StopReason) -> TrainedNetwork:
    network: nn.Module = find_architecture(training.plan.architecture).build(training.plan.arguments)
    network.load_state_dict(exported_state(training.plan, training.folder))
    (whole,) = (plan for plan in recipe.networks if plan.name == training.plan.name)
    return TrainedNetwork(
        plan=whole,
        weights=network_weights(network),
        chosen=training.chosen,
        epochs=len(saved_history(training.folder)),
        ended=ended,
        started_from=training.started_from,
    )
