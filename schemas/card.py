"""The card of a model bundle (``bundle.toml``): all that makes a result, besides the weights themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.vocabulary import FilmClass, Grade


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Identity(_Strict):
    """Who the bundle is and what it may be used for."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    description: str
    licence: str
    intended_use: str
    limits: str


class Input(_Strict):
    """What every network of the bundle reads: one grey film, float in [0, 1], resized to `rows` x `columns`."""

    rows: int = Field(ge=32, le=2048, multiple_of=32)
    columns: int = Field(ge=32, le=2048, multiple_of=32)
    mean: float = 0.5
    std: float = Field(default=0.5, gt=0)
    batch: int = Field(default=16, ge=1, description="Films per forward pass; fixed, so that a film's bits are too.")


class Network(_Strict):
    """One network: an architecture of the catalog, its weights, and what each of its outputs is."""

    name: str
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.safetensors$")
    outputs: tuple[Literal["lung", "infection", "classes"], ...] = Field(min_length=1)
    reads: Literal["film", "lung_masked_film"] = "film"


class Postprocess(_Strict):
    """Constants of mask cleaning (qu-ex section 3.2) and of the plausibility checks."""

    lung_threshold: float = Field(default=0.5, gt=0, lt=1)
    infection_threshold: float = Field(default=0.5, gt=0, lt=1)
    min_region_fraction: float = Field(default=0.05, ge=0, lt=1)
    max_hole_fraction: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="Share of the film above which a hole stays open: the mediastinum between touching lungs.",
    )
    min_infection_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Infection below this share of the lung is taken for none."
    )
    normal_gate: float = Field(
        default=1.0, gt=0, le=1, description="Infection is taken for none where the class `normal` is more probable."
    )
    min_lung_fraction: float = Field(default=0.04, ge=0, lt=1, description="Least share of the film that is lung.")
    max_lung_fraction: float = Field(default=0.75, gt=0, le=1, description="Largest share of the film that is lung.")


class GradeCuts(_Strict):
    """Percent infected at which a grade begins; below ``mild`` and above zero is mild."""

    moderate: float = 25.0
    severe: float = 50.0
    critical: float = 75.0

    @model_validator(mode="after")
    def _ascending(self) -> GradeCuts:
        if not 0 < self.moderate < self.severe < self.critical <= 100:
            raise ValueError(
                "grade cut points must rise within (0, 100]: met "
                f"moderate {self.moderate}, severe {self.severe}, critical {self.critical}"
            )
        return self

    def grade(self, percent: float) -> Grade:
        """Return the grade of `percent` infected (0 to 100)."""
        if percent <= 0:
            return Grade.NONE
        if percent < self.moderate:
            return Grade.MILD
        if percent < self.severe:
            return Grade.MODERATE
        return Grade.SEVERE if percent < self.critical else Grade.CRITICAL


class TrainingData(_Strict):
    """One source of training films and the terms it came under."""

    dataset: str
    films: int = Field(ge=0)
    licence: str
    note: str = ""


class Metric(_Strict):
    """One measured figure with its 95 % confidence interval (qu-ex Eq. 2)."""

    dataset: str
    metric: str
    value: float
    low: float
    high: float
    films: int


class Card(_Strict):
    """The whole card. `networks` run in order; a later one may read what an earlier one found (cascade)."""

    format: Literal[1] = 1
    bundle: Identity
    input: Input
    networks: tuple[Network, ...] = Field(min_length=1)
    classes: tuple[FilmClass, ...] = ()
    postprocess: Postprocess = Postprocess()
    grades: GradeCuts = GradeCuts()
    training: tuple[TrainingData, ...] = ()
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Card:
        given = {output for network in self.networks for output in network.outputs}
        if "lung" not in given:
            raise ValueError(
                f"a bundle must give a lung mask, since nothing is measured without one: met {sorted(given)}"
            )
        if ("classes" in given) != bool(self.classes):
            raise ValueError("class names must be listed if, and only if, a network gives classes")
        first = self.networks[0]
        if first.reads == "lung_masked_film":
            raise ValueError(
                f"network {first.name!r} reads the lung-masked film, but no network before it gives a lung"
            )
        return self
