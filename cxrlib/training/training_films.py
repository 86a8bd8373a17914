"""Training films in memory: read once by the reader of the scoring pipeline, augmented in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from cxr_schemas import FilmClass
from cxrlib.datasets import Sample
from cxrlib.datasets.sample import read_mask
from cxrlib.errors import FilmError, UsageError
from cxrlib.phantom.film import make_phantom
from cxrlib.reading import read_film
from cxrlib.settings import Settings
from cxrlib.training.augment import augment
from cxrlib.training.film_selection import ChosenFilm, has_lung
from cxrlib.training.hyperparameters import Augmentation
from cxrlib.training.recipe import CLASSES, NetworkPlan, PhantomPlan

#: Class index of a film of unknown class. torch's cross-entropy ignores it.
UNKNOWN_CLASS = -100


class Batch(TypedDict):
    """A batch from the data loader: B films of H x W.

    `film` float32 (B, 1, H, W) in [0, 1]; `lung` and `infection` float32 (B, H, W) in {0, 1}; `has_lung` and
    `has_infection` bool (B,): False where the film has no such annotation; `class_index` int64 (B,).
    """

    film: Tensor
    lung: Tensor
    infection: Tensor
    has_lung: Tensor
    has_infection: Tensor
    class_index: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFilm:
    """A film with its labels on the recipe's grid. Arrays are uint8 to save memory: films 0 to 255, masks 0 or 1."""

    film: NDArray[np.uint8]
    lung: NDArray[np.uint8] | None
    infection: NDArray[np.uint8] | None
    class_index: int


def read_films(
    plan: NetworkPlan, chosen: Sequence[ChosenFilm], rows: int, columns: int
) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """Read a network's training films, each as often as an epoch uses it, and its held-out films.

    Raises
    ------
    UsageError
        The pipeline would reject a film. The message names the film and the reason.
    """
    training = load_phantoms(plan.phantoms, CLASSES, rows, columns)
    held_out: list[LabelledFilm] = []
    for film in chosen:
        labelled = load_sample(film.sample, CLASSES, rows, columns)
        if film.held_out:
            held_out.append(labelled)
        else:
            training.extend([labelled] * film.repeats)
    return training, held_out


def load_sample(sample: Sample, classes: Sequence[FilmClass], rows: int, columns: int) -> LabelledFilm:
    """Read a film and its masks. Lung masks drawn with the heart are left out; see `LungConvention`.

    Raises
    ------
    UsageError
        The pipeline would reject the film. The message names the film and the reason.
    """
    try:
        film = read_film(sample.image.read_bytes(), Settings(), rows, columns).pixels
    except FilmError as error:
        raise UsageError(f"training film {sample.image} cannot be read ({error.reason}): {error}") from error
    lung = sample.lung if has_lung(sample) else None
    return LabelledFilm(
        film=np.rint(film * 255).astype(np.uint8),
        lung=None if lung is None else read_mask(lung, rows, columns).astype(np.uint8),
        infection=None if sample.infection is None else read_mask(sample.infection, rows, columns).astype(np.uint8),
        class_index=UNKNOWN_CLASS if sample.film_class is None else list(classes).index(sample.film_class),
    )


def load_phantoms(plan: PhantomPlan, classes: Sequence[FilmClass], rows: int, columns: int) -> list[LabelledFilm]:
    """Generate the recipe's phantoms on its grid."""
    films = []
    for number in range(plan.count):
        phantom = make_phantom(plan.seed + number, rows=rows, columns=columns)
        films.append(
            LabelledFilm(
                film=np.rint(phantom.pixels * 255).astype(np.uint8),
                lung=(phantom.left | phantom.right).astype(np.uint8),
                infection=phantom.infection.astype(np.uint8),
                class_index=list(classes).index(phantom.film_class),
            )
        )
    return films


class TrainingFilms(Dataset[dict[str, Tensor]]):
    """Augmented films. The augmentation of a film depends on its index, the epoch and the seed only."""

    def __init__(self, films: Sequence[LabelledFilm], augmentation: Augmentation | None, seed: int) -> None:
        self.films = films
        self.augmentation = augmentation
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.films)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        labelled = self.films[index]
        film = labelled.film.astype(np.float32) / np.float32(255)
        empty = np.zeros_like(film)
        lung = empty if labelled.lung is None else labelled.lung.astype(np.float32)
        infection = empty if labelled.infection is None else labelled.infection.astype(np.float32)
        if self.augmentation is not None:
            generator = np.random.default_rng([self.seed, self.epoch, index])
            film, (lung, infection) = augment(generator, self.augmentation, film, (lung, infection))
        return {
            "film": torch.from_numpy(film)[None],
            "lung": torch.from_numpy(lung),
            "infection": torch.from_numpy(infection),
            "has_lung": torch.tensor(labelled.lung is not None),
            "has_infection": torch.tensor(labelled.infection is not None),
            "class_index": torch.tensor(labelled.class_index),
        }
