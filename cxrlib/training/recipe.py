"""Training recipes: the networks of a bundle, the films each is trained on, and how. Recipes are TOML files.

A recipe follows its paper. Choices that the paper leaves open have the comment "not stated". This module does not
import torch.
"""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from cxr_schemas import FilmClass
from cxr_schemas.card import BundleIdentity, BundleInput, Localisation, NetworkInput, Postprocess
from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import load_catalog, load_departures
from cxrlib.training.hyperparameters import (
    Augmentation,
    Constant,
    EarlyStop,
    Losses,
    Monitor,
    Optimiser,
    Plateau,
    RecipePart,
    Schedule,
)

Output = Literal["lung", "infection", "classes"]

#: Order of the class logits of every network that this package trains.
CLASSES: Final = (FilmClass.COVID19, FilmClass.PNEUMONIA, FilmClass.NORMAL)

#: Value of `pretrained` if the paper starts from ImageNet weights. The user supplies the file.
IMAGENET: Final = "imagenet"


class DataPlan(RecipePart):
    """One data set folder in the data root, and how often an epoch uses each of its films."""

    folder: str
    licence: str
    note: str = ""
    leave_out: tuple[str, ...] = Field(default=(), description="Subfolders whose films are not used.")
    repeat: dict[str, int] = Field(default_factory=dict, description="Repeats per epoch, by source. Default: 1.")
    repeat_class: dict[FilmClass, int] = Field(
        default_factory=dict, description="Repeats per epoch, by class. Multiplied with `repeat`. Default: 1."
    )

    def repeats(self, source: str, film_class: FilmClass | None) -> int:
        """Return how often an epoch uses a film."""
        by_class = 1 if film_class is None else self.repeat_class.get(film_class, 1)
        return self.repeat.get(source, 1) * by_class


class PhantomPlan(RecipePart):
    """Synthetic films that are generated once and used in every epoch."""

    count: int = Field(default=0, ge=0)
    seed: int = 0


class Stage(RecipePart):
    """A number of epochs at one image size. Small sizes come first because they are cheap."""

    side: int = Field(ge=32, multiple_of=32)
    epochs: int = Field(ge=1)


class NetworkPlan(RecipePart):
    """The plan of one network: architecture, starting weights, films and training.

    Either `epochs` trains at full size, or `stages` trains several sizes in turn. `best` chooses the exported epoch;
    without it, the last epoch is exported. With `average_decay`, the moving average of the weights is exported. `share`
    is the network's share of a time limit.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    outputs: tuple[Output, ...] = Field(min_length=1)
    reads: Literal["film", "lung_masked_film"] = "film"
    input: NetworkInput | None = None
    pretrained: str | dict[str, str] | None = Field(
        default=None,
        description="Starting weights of the encoder: an installed weight package, a safetensors file, or 'imagenet' "
        "if the paper starts from ImageNet weights and the user supplies them. A network of several encoders takes a "
        "table with one of these by encoder. Default: random weights.",
    )
    data: tuple[str, ...] = Field(min_length=1, description="Names of the recipe's data sets.")
    instead: tuple[str, ...] = Field(default=(), description="Data sets to use if those of `data` are missing.")
    phantoms: PhantomPlan = PhantomPlan()
    validation: float = Field(default=0.05, ge=0, lt=0.5, description="Share of the training groups held out.")
    batch: int = Field(ge=1)
    epochs: int | None = Field(default=None, ge=1)
    stages: tuple[Stage, ...] = ()
    optimiser: Optimiser
    schedule: Schedule = Constant()
    clip: float | None = Field(default=None, gt=0, description="Largest norm of the gradient.")
    loss: Losses
    augmentation: Augmentation | None = None
    early_stop: EarlyStop | None = None
    best: Monitor | None = None
    average_decay: float | None = Field(default=None, gt=0, lt=1)
    share: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> NetworkPlan:
        if (self.epochs is None) is not bool(self.stages):
            raise ValueError(f"network {self.name}: expected either epochs or stages; got both or neither")
        losses = {output for output in get_args(Output) if getattr(self.loss, output) is not None}
        if losses != set(self.outputs):
            raise ValueError(
                f"network {self.name}: expected a loss for each of its outputs {sorted(self.outputs)}; "
                f"got {sorted(losses)}"
            )
        unmeasured = sorted(monitor for monitor in self.monitors if not monitor.is_measured(losses))
        if unmeasured:
            raise ValueError(
                f"network {self.name}: expected monitors that its outputs measure; got {', '.join(unmeasured)}"
            )
        return self

    @property
    def monitors(self) -> frozenset[Monitor]:
        """The values on the held-out films that the training depends on."""
        monitors = {self.best, None if self.early_stop is None else self.early_stop.monitor}
        if isinstance(self.schedule, Plateau):
            monitors.add(self.schedule.monitor)
        return frozenset(monitor for monitor in monitors if monitor is not None)

    @property
    def all_epochs(self) -> int:
        """The total number of epochs."""
        return self.epochs or sum(stage.epochs for stage in self.stages)

    def shortened(self, epochs: int) -> NetworkPlan:
        """Return the plan with at most `epochs` epochs. If it has stages, the last ones are kept."""
        if epochs >= self.all_epochs:
            return self
        if not self.stages:
            return self.model_copy(update={"epochs": epochs})
        kept: list[Stage] = []
        for stage in reversed(self.stages):
            if epochs > 0:
                kept.insert(0, stage.model_copy(update={"epochs": min(stage.epochs, epochs)}))
            epochs -= stage.epochs
        return self.model_copy(update={"stages": tuple(kept)})

    def side(self, epoch: int) -> int | None:
        """Return the image side of an epoch, counted from 0. None is full size."""
        for stage in self.stages:
            if epoch < stage.epochs:
                return stage.side
            epoch -= stage.epochs
        return self.stages[-1].side if self.stages else None


class Recipe(RecipePart):
    """A recipe. Its networks are trained in order and exported as one bundle.

    `paper` is the short name of the paper that it follows. The card states where it departs from that paper.
    """

    seed: int = 0
    paper: str | None = None
    bundle: BundleIdentity
    input: BundleInput
    data: dict[str, DataPlan] = Field(min_length=1)
    networks: tuple[NetworkPlan, ...] = Field(min_length=1)
    localisation: Localisation | None = None
    postprocess: Postprocess = Postprocess()

    @model_validator(mode="before")
    @classmethod
    def _spread_common(cls, plain: Any) -> Any:
        """Add the keys of the table ``common`` to every network that does not have them."""
        if not isinstance(plain, dict) or "common" not in plain:
            return plain
        common = plain["common"]
        rest = {key: value for key, value in plain.items() if key != "common"}
        return {**rest, "networks": [{**common, **network} for network in plain.get("networks", [])]}

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        papers = {entry.paper for entry in load_catalog().values()}
        if self.paper is not None and self.paper not in papers:
            raise ValueError(f"expected a paper of the catalog ({', '.join(sorted(papers))}); got {self.paper}")
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            raise ValueError(f"expected unique names of networks; got {', '.join(names)}")
        for network in self.networks:
            unknown = {*network.data, *network.instead} - self.data.keys()
            if unknown:
                raise ValueError(
                    f"network {network.name}: expected data sets among {', '.join(self.data)}; "
                    f"got {', '.join(sorted(unknown))}"
                )
        return self

    @property
    def departures(self) -> tuple[str, ...]:
        """Where the recipe departs from its paper, one text each, as the catalog states them."""
        return () if self.paper is None else load_departures().get(self.paper, ())

    def input_of(self, network: NetworkPlan) -> BundleInput:
        """Return the input of a network: the bundle's input, overridden by the network's own."""
        own = {} if network.input is None else network.input.model_dump(exclude_none=True)
        return self.input.model_copy(update=own)


def load_recipe(name_or_path: str) -> Recipe:
    """Load an included recipe by its name, or any other by its path.

    Raises
    ------
    UsageError
        There is no such recipe, or it is not valid. The message names every invalid key.
    """
    shipped = files("cxrlib.training").joinpath("recipes", f"{name_or_path}.toml")
    try:
        text = shipped.read_text("utf-8") if shipped.is_file() else Path(name_or_path).read_text("utf-8")
        return Recipe.model_validate(tomllib.loads(text))
    except OSError as error:
        raise UsageError(
            f"expected a recipe file or one of {', '.join(recipe_names())}; got {name_or_path!r}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"recipe {name_or_path} is not valid TOML: {error}") from error
    except ValidationError as error:
        raise UsageError(f"recipe {name_or_path} is not valid: {'; '.join(_faults(error))}") from error


def recipe_names() -> list[str]:
    """Return the names of the included recipes."""
    folder = files("cxrlib.training").joinpath("recipes")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def _faults(error: ValidationError) -> list[str]:
    faults = []
    for fault in error.errors():
        where = ".".join(str(step) for step in fault["loc"]) or "recipe"
        if fault["type"] == "extra_forbidden":
            faults.append(f"{where} is not a known key")
        elif fault["type"] == "missing":
            faults.append(f"{where} is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            got = fault["input"]
            faults.append(f"{where}: {message}" + ("" if isinstance(got, dict | BaseModel) else f", got {got!r}"))
    return faults
