"""Choose the training films and the held-out films of a network: films of its data sets with a label it can use."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxrlib.datasets import LungConvention, Sample, Split, read_dataset
from cxrlib.errors import UsageError
from cxrlib.training.recipe import NetworkPlan, Recipe


@dataclass(frozen=True, slots=True)
class ChosenFilm:
    """One film of a network's training.

    Attributes
    ----------
    dataset : str
        Name of its data set in the recipe.
    sample : Sample
    held_out : bool
        Whether it is used for validation.
    repeats : int
        How often an epoch uses it. Validation uses each film once.
    """

    dataset: str
    sample: Sample
    held_out: bool
    repeats: int


def available_datasets(recipe: Recipe, network: NetworkPlan, data: Path) -> tuple[str, ...]:
    """Return the data sets that a network is trained on: those of `data`, or those of `instead` if one is missing.

    Raises
    ------
    UsageError
        Both have missing folders. The error names the folders expected and found.
    """
    for names in (network.data, network.instead):
        if names and all((data / recipe.data[name].folder).is_dir() for name in names):
            return names
    wanted = " and ".join(recipe.data[name].folder for name in network.data)
    if network.instead:
        wanted += ", or else on " + " and ".join(recipe.data[name].folder for name in network.instead)
    got = ", ".join(sorted(entry.name for entry in data.iterdir() if entry.is_dir())) if data.is_dir() else ""
    raise UsageError(f"network {network.name} is trained on {wanted} in {data}; got {got or 'no folder'} there")


def choose_films(recipe: Recipe, network: NetworkPlan, data: Path, most: int | None = None) -> list[ChosenFilm]:
    """List a network's training films and held-out films, in the order of its data sets and then of path.

    Parameters
    ----------
    most : int, optional
        Largest number of training films; held-out films are reduced in proportion. The films are drawn from each class
        in turn, and depend on their names and the recipe's seed only.

    Raises
    ------
    UsageError
        A data set is missing, or there are no training films with a label that the network can use.
    """
    chosen = []
    for name in available_datasets(recipe, network, data):
        plan = recipe.data[name]
        for sample in read_dataset(data / plan.folder, Split.TRAIN):
            if _has_usable_label(sample, network) and not set(plan.leave_out) & set(sample.image.parts):
                repeats = plan.repeats(sample.source, sample.film_class)
                held_out = is_held_out(sample.group, network.validation)
                chosen.append(ChosenFilm(name, sample, held_out, repeats))
    if most is not None and sum(not film.held_out for film in chosen) > most:
        share = network.validation / (1 - network.validation)
        drawn = {
            *_draw([film for film in chosen if not film.held_out], most, recipe.seed),
            *_draw([film for film in chosen if film.held_out], max(round(most * share), 1), recipe.seed),
        }
        chosen = [film for film in chosen if film in drawn]
    if all(film.held_out for film in chosen):
        raise UsageError(
            f"network {network.name}: expected training films with {' or '.join(network.outputs)} labels; got none"
        )
    return chosen


def is_held_out(group: str, share: float) -> bool:
    """Return whether a group belongs to the validation share. It depends on the group's name only."""
    digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def has_lung(sample: Sample) -> bool:
    """Return whether a film has a lung mask without the heart; others are not used, see `LungConvention`."""
    return sample.lung is not None and sample.lung_convention is LungConvention.LUNG_FIELD


def _has_usable_label(sample: Sample, network: NetworkPlan) -> bool:
    """Return whether a film has a label for an output of the network, and the lung mask if the network reads it."""
    if network.reads == "lung_masked_film" and not has_lung(sample):
        return False
    labels = {
        "lung": has_lung(sample),
        "infection": sample.infection is not None,
        "classes": sample.film_class is not None,
    }
    return any(labels[output] for output in network.outputs)


def _draw(films: Sequence[ChosenFilm], most: int, seed: int) -> list[ChosenFilm]:
    """Draw at most `most` films, from each class in turn."""
    ranked: dict[str, list[ChosenFilm]] = defaultdict(list)
    for film in sorted(films, key=lambda film: _rank(film, seed)):
        ranked[str(film.sample.film_class)].append(film)
    turns = [(turn, label, film) for label, of_class in sorted(ranked.items()) for turn, film in enumerate(of_class)]
    return [film for _, _, film in sorted(turns, key=lambda item: item[:2])][:most]


def _rank(film: ChosenFilm, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{film.dataset}:{film.sample.image.name}".encode()).digest()
