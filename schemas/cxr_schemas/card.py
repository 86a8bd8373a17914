"""Define the card of a model bundle (``bundle.toml``): everything that determines a result, except the weights."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cxr_schemas.vocabulary import FilmClass, Grade

#: The 5 % rule (qu-ex section 3.2): a lung region under this share of all lung pixels is removed
#: (`cxrlib.measuring.masks.remove_small_regions`). This is the default; a card may state another share.
MIN_REGION_FRACTION: Final = 0.05


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleIdentity(_Strict):
    """Name, version, licence and intended use of the bundle."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    version: str = Field(pattern=r"^\d+\.\d+\.\d+$")
    description: str
    licence: str
    intended_use: str
    limits: str


_SIDE = Field(ge=32, le=2048, multiple_of=32)


class BundleInput(_Strict):
    """Input of a bundle: a grey film, float in [0, 1], resampled to `rows` x `columns`. Masks have the same grid.

    Every network gets ``(film - mean) / std`` on this grid, unless it has its own `NetworkInput`.
    """

    rows: int = _SIDE
    columns: int = _SIDE
    mean: float = 0.5
    std: float = Field(default=0.5, gt=0)
    batch: int = Field(
        default=16, ge=1, description="Films per forward pass; fixed, because the bits of a result can depend on it."
    )


class NetworkInput(_Strict):
    """Input of one network where it differs from the bundle's; fields left out have the bundle's value.

    The film is resampled from the bundle's grid to this one, and probability maps are resampled back: by area where a
    side shrinks, linearly where it grows (`cxrlib.reading.resample.resize`).
    """

    rows: int | None = Field(default=None, ge=32, le=2048, multiple_of=32)
    columns: int | None = Field(default=None, ge=32, le=2048, multiple_of=32)
    mean: float | None = None
    std: float | None = Field(default=None, gt=0)


class NetworkSpec(_Strict):
    """One network: an architecture of the catalog, its weights, its input and its outputs.

    `outputs` may omit outputs of the architecture. If several networks give the same output, they form an ensemble:
    the unweighted mean of their probabilities (hybrid, section Segmentation).

    `reads` is ``film``, or ``lung_masked_film`` for the later network of a cascade (qu-ex section 4.2, hybrid section
    Classification): pixels outside the lung are set to 0 before the film is resampled to the network's grid and
    normalised. The lung mask is the one that the row measures: the mean over all lung networks on the bundle's grid,
    thresholded and cleaned as `Postprocess` sets (qu-ex section 3.2). The papers do not state whether their cascades
    clean the mask first. Cleaning fills holes. An unfilled hole, where the lung network missed a consolidation, would
    hide the infection from the next network.
    """

    name: str
    architecture: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: str = Field(pattern=r"^[A-Za-z0-9_.-]+\.safetensors$")
    outputs: tuple[Literal["lung", "infection", "classes"], ...] = Field(min_length=1)
    reads: Literal["film", "lung_masked_film"] = "film"
    input: NetworkInput | None = None


class Localisation(_Strict):
    """Grad-CAM map of the pixels that support the predicted class (hybrid, section Localization; Selvaraju et al.).

    `network` is the classifier. `layer` is the dotted path of a module in it whose output is (films, channels, rows,
    columns). A pixel counts as localised where the map, scaled to [0, 1] per film, exceeds `threshold`.
    """

    network: str
    layer: str = Field(min_length=1)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    explains: Literal["predicted"] = "predicted"


class Postprocess(_Strict):
    """Constants of mask cleaning (qu-ex section 3.2) and of the plausibility checks."""

    lung_threshold: float = Field(default=0.5, gt=0, lt=1)
    infection_threshold: float = Field(default=0.5, gt=0, lt=1)
    min_region_fraction: float = Field(
        default=MIN_REGION_FRACTION,
        ge=0,
        lt=1,
        description="Lung regions below this share of all lung pixels are removed (the 5 % rule).",
    )
    max_hole_fraction: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="Holes above this share of the film stay open: the mediastinum between touching lungs.",
    )
    min_infection_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Infection below this share of the lung is removed."
    )
    normal_gate: float = Field(
        default=1.0, gt=0, le=1, description="Infection is removed if the probability of class `normal` exceeds this."
    )
    min_lung_fraction: float = Field(
        default=0.04, ge=0, lt=1, description="Smallest plausible share of the film that is lung."
    )
    max_lung_fraction: float = Field(
        default=0.75, gt=0, le=1, description="Largest plausible share of the film that is lung."
    )


class GradeCuts(_Strict):
    """Percent infected at which each grade begins; above 0 and below ``moderate`` the grade is mild."""

    moderate: float = 25.0
    severe: float = 50.0
    critical: float = 75.0

    @model_validator(mode="after")
    def _ascending(self) -> GradeCuts:
        if not 0 < self.moderate < self.severe < self.critical <= 100:
            raise ValueError(
                "grade cut points must increase within (0, 100]; got "
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
    """One source of training films and its licence."""

    dataset: str
    films: int = Field(ge=0)
    licence: str
    note: str = ""


class Metric(_Strict):
    """One measured value with its 95 % confidence interval (qu-ex Eq. 2)."""

    dataset: str
    metric: str
    value: float
    low: float
    high: float
    films: int


class Card(_Strict):
    """The whole card. `networks` run in order; a later one may use the lung mask of earlier ones (cascade).

    `departures` states where the bundle departs from the paper that it follows, one text each.
    """

    format: Literal[1] = 1
    bundle: BundleIdentity
    input: BundleInput
    networks: tuple[NetworkSpec, ...] = Field(min_length=1)
    classes: tuple[FilmClass, ...] = ()
    localisation: Localisation | None = None
    postprocess: Postprocess = Postprocess()
    grades: GradeCuts = GradeCuts()
    training: tuple[TrainingData, ...] = ()
    metrics: tuple[Metric, ...] = ()
    departures: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _complete(self) -> Card:
        outputs = {output for network in self.networks for output in network.outputs}
        if "lung" not in outputs:
            raise ValueError(
                f"a bundle must have a network with output lung, because every measure needs it; got {sorted(outputs)}"
            )
        if ("classes" in outputs) != bool(self.classes):
            raise ValueError("class names must be listed if, and only if, a network has output classes")
        self._check_networks()
        self._check_cascade()
        self._check_localisation()
        return self

    def _check_networks(self) -> None:
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            raise ValueError(f"every network must have a unique name; got {', '.join(names)}")
        for network in self.networks:
            if len(set(network.outputs)) < len(network.outputs):
                raise ValueError(
                    f"network {network.name!r} must list each output once; got {', '.join(network.outputs)}"
                )

    def _check_cascade(self) -> None:
        """Check that all lung networks come first, so that the cascade and the row use the same lung mask."""
        masked = [network.reads == "lung_masked_film" for network in self.networks]
        lungs = ["lung" in network.outputs for network in self.networks]
        if True in masked and True in lungs[masked.index(True) :]:
            first = self.networks[masked.index(True)].name
            raise ValueError(
                f"network {first!r} reads the lung-masked film, so every network with output lung must come before it"
            )

    def _check_localisation(self) -> None:
        if self.localisation is None:
            return
        classifiers = [network.name for network in self.networks if "classes" in network.outputs]
        if classifiers != [self.localisation.network]:
            raise ValueError(
                f"localisation network {self.localisation.network!r} must be the only one with output classes; "
                f"got {', '.join(classifiers) or 'none'}"
            )

    def input_of(self, network: NetworkSpec) -> BundleInput:
        """Return the input of a network: the bundle's, overridden by the network's own."""
        overrides = {} if network.input is None else network.input.model_dump(exclude_none=True)
        return self.input.model_copy(update=overrides)

    def explains(self, network: NetworkSpec) -> bool:
        """Return whether Grad-CAM maps are computed for a network. Only torch computes them."""
        return self.localisation is not None and self.localisation.network == network.name
