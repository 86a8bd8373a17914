"""The card of a model bundle (``bundle.toml``): all that makes a result, besides the weights themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_schemas.vocabulary import FilmClass, Grade


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


_SIDE = Field(ge=32, le=2048, multiple_of=32)


class Input(_Strict):
    """What a bundle reads: one grey film, float in [0, 1], on `rows` x `columns`; masks are drawn on that grid.

    Every network is given ``(film - mean) / std``, on this grid unless it names one of its own (`NetworkInput`).
    """

    rows: int = _SIDE
    columns: int = _SIDE
    mean: float = 0.5
    std: float = Field(default=0.5, gt=0)
    batch: int = Field(default=16, ge=1, description="Films per forward pass; fixed, so that a film's bits are too.")


class NetworkInput(_Strict):
    """Where one network reads otherwise than its bundle; what is not given is the bundle's.

    The film is brought from the bundle's grid to this one, and probability maps from this one to the bundle's, by area
    where a side shrinks and linearly where it grows (`cxrlib.reading.resample.resize`).
    """

    rows: int | None = Field(default=None, ge=32, le=2048, multiple_of=32)
    columns: int | None = Field(default=None, ge=32, le=2048, multiple_of=32)
    mean: float | None = None
    std: float | None = Field(default=None, gt=0)


class Network(_Strict):
    """One network: an architecture of the catalog, its weights, what it reads and what each of its outputs is.

    `outputs` may be fewer than the architecture gives; the rest is dropped. An output that several networks give is an
    ensemble: the mean of their probabilities, each with the same weight (hybrid, section Segmentation).

    `reads` is ``film``, or ``lung_masked_film`` for the later network of a cascade (qu-ex section 4.2, hybrid section
    Classification): the film with everything but the lung set to 0, before it is brought to the network's grid and
    normalised. The lung is the one that the row measures: on the bundle's grid, the mean over all lung networks,
    thresholded, holes filled and small regions removed as `Postprocess` says (qu-ex section 3.2). Neither paper says
    whether its cascade cleans the mask first; uncleaned, a consolidation that the lung network missed is a hole, and
    the next network would never see it.
    """

    name: str
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.safetensors$")
    outputs: tuple[Literal["lung", "infection", "classes"], ...] = Field(min_length=1)
    reads: Literal["film", "lung_masked_film"] = "film"
    input: NetworkInput | None = None


class Localisation(_Strict):
    """A map of what in the film spoke for the class, by Grad-CAM (hybrid, section Localization; Selvaraju et al.).

    `network` gives the classes, and `layer` is the dotted path of a module within it whose output is (films, channels,
    rows, columns). The class explained is the one predicted. A pixel is localised where the map, scaled to [0, 1] per
    film, exceeds `threshold`.
    """

    network: str
    layer: str = Field(min_length=1)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    explains: Literal["predicted"] = "predicted"


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
                "grade cut points must rise within (0, 100]: got "
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
    """The whole card. `networks` run in order; a later one may read what the earlier ones found (cascade)."""

    format: Literal[1] = 1
    bundle: Identity
    input: Input
    networks: tuple[Network, ...] = Field(min_length=1)
    classes: tuple[FilmClass, ...] = ()
    localisation: Localisation | None = None
    postprocess: Postprocess = Postprocess()
    grades: GradeCuts = GradeCuts()
    training: tuple[TrainingData, ...] = ()
    metrics: tuple[Metric, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Card:
        given = {output for network in self.networks for output in network.outputs}
        if "lung" not in given:
            raise ValueError(
                f"a bundle must give a lung mask, since nothing is measured without one: got {sorted(given)}"
            )
        if ("classes" in given) != bool(self.classes):
            raise ValueError("class names must be listed if, and only if, a network gives classes")
        self._check_networks()
        self._check_cascade()
        self._check_localisation()
        return self

    def _check_networks(self) -> None:
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            raise ValueError(f"every network must have a name of its own: got {', '.join(names)}")
        for network in self.networks:
            if len(set(network.outputs)) < len(network.outputs):
                raise ValueError(
                    f"network {network.name!r} must list each output once: got {', '.join(network.outputs)}"
                )

    def _check_cascade(self) -> None:
        """The lung that masks a film must be whole by then: one lung, in the cascade and in the row."""
        masked = [network.reads == "lung_masked_film" for network in self.networks]
        lungs = ["lung" in network.outputs for network in self.networks]
        if True in masked and True in lungs[masked.index(True) :]:
            first = self.networks[masked.index(True)].name
            raise ValueError(
                f"network {first!r} reads the lung-masked film, so every network that gives a lung must come before it"
            )

    def _check_localisation(self) -> None:
        if self.localisation is None:
            return
        givers = [network.name for network in self.networks if "classes" in network.outputs]
        if givers != [self.localisation.network]:
            raise ValueError(
                f"localisation explains the class that network {self.localisation.network!r} gives, which must be the "
                f"only one to give classes: got {', '.join(givers) or 'none'}"
            )

    def input_of(self, network: Network) -> Input:
        """Return what a network reads: the bundle's input, with what the network has of its own."""
        own = {} if network.input is None else network.input.model_dump(exclude_none=True)
        return self.input.model_copy(update=own)
