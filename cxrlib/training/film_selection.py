"""Which films a network is trained on: films of its data sets with a label it learns from, less those held out."""

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
        Name of the recipe's data set it is of.
    sample : Sample
    held_out : bool
        It serves validation.
    repeats : int
        How often it is seen in an epoch; validation sees it once.
    """

    dataset: str
    sample: Sample
    held_out: bool
    repeats: int


def available_datasets(recipe: Recipe, network: NetworkPlan, data: Path) -> tuple[str, ...]:
    """Return the names of the data sets that a network is trained on: its own, or those that serve instead.

    Raises
    ------
    UsageError
        Neither are all there; the error names the folders expected and those met.
    """
    for names in (network.data, network.instead):
        if names and all((data / recipe.data[name].folder).is_dir() for name in names):
            return names
    wanted = " and ".join(recipe.data[name].folder for name in network.data)
    if network.instead:
        wanted += ", or else " + " and ".join(recipe.data[name].folder for name in network.instead)
    got = ", ".join(sorted(entry.name for entry in data.iterdir() if entry.is_dir())) if data.is_dir() else ""
    raise UsageError(f"network {network.name} is trained on {wanted} below {data}; got {got or 'no folder'} there")


def choose_films(recipe: Recipe, network: NetworkPlan, data: Path, most: int | None = None) -> list[ChosenFilm]:
    """List the films of a network's training, in the order of its data sets and of their paths.

    Parameters
    ----------
    most : int, optional
        Train on this many films at most, and hold out in proportion. Which they are depends on their names and the
        recipe's seed alone; the classes are drawn from in turn.

    Raises
    ------
    UsageError
        A data set is missing, or none of its films has a label that the network learns from.
    """
    chosen = []
    for name in available_datasets(recipe, network, data):
        plan = recipe.data[name]
        for sample in read_dataset(data / plan.folder, Split.TRAIN):
            if _teaches(sample, network) and not set(plan.leave_out) & set(sample.image.parts):
                repeats = plan.repeats(sample.source, sample.film_class)
                chosen.append(ChosenFilm(name, sample, held_out(sample.group, network.validation), repeats))
    if most is not None and sum(not film.held_out for film in chosen) > most:
        share = network.validation / (1 - network.validation)
        kept = {
            *_drawn([film for film in chosen if not film.held_out], most, recipe.seed),
            *_drawn([film for film in chosen if film.held_out], max(round(most * share), 1), recipe.seed),
        }
        chosen = [film for film in chosen if film in kept]
    if all(film.held_out for film in chosen):
        raise UsageError(
            f"network {network.name}: expected training films with {' or '.join(network.outputs)} labels; got none"
        )
    return chosen


def held_out(group: str, share: float) -> bool:
    """Tell whether a group belongs to the validation share: a property of its name, so the same in every run."""
    digest = hashlib.sha256(group.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < share


def has_lung(sample: Sample) -> bool:
    """Whether a film's lung mask may be learnt from; one drawn with the heart shadow may not, see `LungConvention`."""
    return sample.lung is not None and sample.lung_convention is LungConvention.LUNG_FIELD


def _teaches(sample: Sample, network: NetworkPlan) -> bool:
    """Whether a film has a label of what the network gives, and the lung that masks it where the network needs that."""
    if network.reads == "lung_masked_film" and not has_lung(sample):
        return False
    labels = {
        "lung": has_lung(sample),
        "infection": sample.infection is not None,
        "classes": sample.film_class is not None,
    }
    return any(labels[output] for output in network.outputs)


def _drawn(films: Sequence[ChosenFilm], most: int, seed: int) -> list[ChosenFilm]:
    """Draw at most `most` films, from each class in turn."""
    ranked: dict[str, list[ChosenFilm]] = defaultdict(list)
    for film in sorted(films, key=lambda film: _rank(film, seed)):
        ranked[str(film.sample.film_class)].append(film)
    turns = [(turn, label, film) for label, of_class in sorted(ranked.items()) for turn, film in enumerate(of_class)]
    return [film for _, _, film in sorted(turns, key=lambda item: item[:2])][:most]


def _rank(film: ChosenFilm, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{film.dataset}:{film.sample.image.name}".encode()).digest()
