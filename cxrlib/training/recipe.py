"""A training recipe: what a network is trained on and how, as data. Recipes ship as TOML files in ``recipes/``."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxrlib.errors import UsageError
from schemas import FilmClass
from schemas.card import Identity, Input, Postprocess, TrainingData


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkPlan(_Part):
    """What is trained: an architecture of the catalog and the encoder weights it starts from."""

    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    pretrained: str | None = Field(default=None, description="Installed weight package, or path of a safetensors file.")


class DataPlan(_Part):
    """One data set folder below the data root; its `train` split is used, each film as often an epoch as it repeats."""

    folder: str
    licence: str
    note: str = ""
    repeat: dict[str, int] = Field(default_factory=dict, description="Repeats an epoch by source; 1 if not named.")
    repeat_class: dict[FilmClass, int] = Field(
        default_factory=dict, description="Repeats an epoch by class, times those by source; 1 if not named."
    )

    def repeats(self, source: str, film_class: FilmClass | None) -> int:
        """Return how often a film is seen in an epoch."""
        by_class = 1 if film_class is None else self.repeat_class.get(film_class, 1)
        return self.repeat.get(source, 1) * by_class


class PhantomPlan(_Part):
    """Synthetic films that are drawn once and join every epoch."""

    count: int = Field(default=0, ge=0)
    seed: int = 0


class Stage(_Part):
    """Epochs trained at one image size; the small ones come first because they are cheap."""

    side: int = Field(ge=32, multiple_of=32)
    epochs: int = Field(ge=1)


class Optimiser(_Part):
    """AdamW with a one-cycle rate; the pretrained encoder learns slower by `encoder_factor`."""

    rate: float = Field(gt=0)
    encoder_factor: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, le=1, description="Share of all steps in which the rate rises.")
    average_decay: float = Field(default=0.998, gt=0, lt=1, description="Decay of the moving average of the weights.")


class LossWeights(_Part):
    """Weights of the summed loss; each mask loss is binary cross-entropy plus soft Dice."""

    lung: float = 1.0
    infection: float = 1.0
    classes: float = 1.0
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)


class Augmentation(_Part):
    """Largest random change of each kind; all are drawn per film and epoch from the recipe's seed."""

    rotate_degrees: float = 12.0
    shift: float = 0.08
    scale: float = 0.15
    stretch: float = 0.08
    shear_degrees: float = 4.0
    flip_probability: float = Field(default=0.3, ge=0, le=1)
    gamma: float = 0.35
    contrast: float = 0.25
    noise: float = 0.04
    degrade_probability: float = Field(default=0.35, ge=0, le=1, description="Blur, fewer pixels or JPEG artefacts.")


class Recipe(_Part):
    """The whole recipe."""

    seed: int = 0
    batch: int = Field(ge=1)
    validation: float = Field(default=0.05, ge=0, lt=0.5, description="Share of the training groups held out.")
    bundle: Identity
    input: Input
    network: NetworkPlan
    data: tuple[DataPlan, ...] = Field(min_length=1)
    phantoms: PhantomPlan = PhantomPlan()
    stages: tuple[Stage, ...] = Field(min_length=1)
    optimiser: Optimiser
    loss: LossWeights = LossWeights()
    augmentation: Augmentation = Augmentation()
    postprocess: Postprocess = Postprocess()

    @property
    def epochs(self) -> int:
        """All epochs of all stages."""
        return sum(stage.epochs for stage in self.stages)

    def side(self, epoch: int) -> int:
        """Return the image side of an epoch, counted from 0."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage.side
            epoch -= stage.epochs
        return self.stages[-1].side

    def training_data(self, films: dict[str, int]) -> tuple[TrainingData, ...]:
        """Return what the card says of the training data; `films` counts them by folder."""
        real = tuple(
            TrainingData(dataset=plan.folder, films=films[plan.folder], licence=plan.licence, note=plan.note)
            for plan in self.data
        )
        if not self.phantoms.count:
            return real
        phantoms = TrainingData(
            dataset="phantom", films=self.phantoms.count, licence="Apache-2.0", note=f"seed {self.phantoms.seed}"
        )
        return (*real, phantoms)


def load_recipe(name_or_path: str) -> Recipe:
    """Load a recipe that ships, by name, or any other by its path.

    Raises
    ------
    UsageError
        There is no such recipe, or it is not valid.
    """
    shipped = files("cxrlib.training").joinpath("recipes", f"{name_or_path}.toml")
    try:
        text = shipped.read_text() if shipped.is_file() else Path(name_or_path).read_text()
        return Recipe.model_validate(tomllib.loads(text))
    except OSError as error:
        raise UsageError(
            f"recipe {name_or_path!r} neither ships ({', '.join(recipe_names())}) nor is a file"
        ) from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise UsageError(f"recipe {name_or_path} is not valid: {error}") from error


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship."""
    folder = files("cxrlib.training").joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
