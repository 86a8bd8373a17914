"""How one network is trained, as data: optimiser, rate, losses, when to stop, how films are changed.

Each choice is a model of its own, told apart by ``kind`` in the recipe, so that a recipe can state what its paper
states and nothing else. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class RecipePart(BaseModel):
    """A part of a recipe: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Monitor(StrEnum):
    """What is watched on the held-out films."""

    LOSS = "val_loss"
    ACCURACY = "val_accuracy"
    LUNG_DICE = "val_lung_dice"
    INFECTION_DICE = "val_infection_dice"

    @property
    def falls(self) -> bool:
        """Whether less of it is better."""
        return self is Monitor.LOSS

    def measured(self, outputs: Collection[str]) -> bool:
        """Whether a network that gives these outputs measures it."""
        return _MEASURED_BY[self] is None or _MEASURED_BY[self] in outputs


_MEASURED_BY: Final[Mapping[Monitor, str | None]] = {
    Monitor.LOSS: None,
    Monitor.ACCURACY: "classes",
    Monitor.LUNG_DICE: "lung",
    Monitor.INFECTION_DICE: "infection",
}


class Adam(RecipePart):
    """Adam (Kingma and Ba); its weight decay is the gradient's L2 term."""

    kind: Literal["adam"]
    rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)


class AdamW(RecipePart):
    """AdamW; norms and biases (tensors of one dimension) are not decayed, and an encoder may learn slower."""

    kind: Literal["adamw"]
    rate: float = Field(gt=0)
    encoder_factor: float = Field(default=1.0, gt=0, description="Rate of the encoder, as a share of the rate.")
    weight_decay: float = Field(default=0.01, ge=0)


class Sgd(RecipePart):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    rate: float = Field(gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)


Optimiser = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]


class Constant(RecipePart):
    """The rate stays as it is."""

    kind: Literal["constant"] = "constant"


class OneCycle(RecipePart):
    """The rate rises from a tenth to its full value, then falls to a thousandth of it, over all steps."""

    kind: Literal["one-cycle"]
    warmup: float = Field(ge=0, le=1, description="Share of all steps in which the rate rises.")


class Plateau(RecipePart):
    """The rate is multiplied by `factor` each time what is watched has not become better for `patience` epochs."""

    kind: Literal["plateau"]
    factor: float = Field(gt=0, lt=1)
    patience: int = Field(ge=1)
    floor: float = Field(default=0.0, ge=0, description="The rate does not fall below this.")
    monitor: Monitor = Monitor.LOSS


Schedule = Annotated[Constant | OneCycle | Plateau, Field(discriminator="kind")]


class EarlyStop(RecipePart):
    """Training ends when what is watched has not become better for `patience` epochs."""

    patience: int = Field(ge=1)
    monitor: Monitor = Monitor.LOSS


class MaskLossKind(StrEnum):
    """Loss of a mask; `cxrlib.training.losses` says what each computes."""

    BINARY_CROSS_ENTROPY = "binary-cross-entropy"
    BINARY_CROSS_ENTROPY_DICE = "binary-cross-entropy-dice"
    DICE = "dice"
    JACCARD_SSIM_FOCAL = "jaccard-ssim-focal"


class ClassLossKind(StrEnum):
    """Loss of the class; `cxrlib.training.losses` says what each computes."""

    CATEGORICAL_CROSS_ENTROPY = "categorical-cross-entropy"
    BINARY_CROSS_ENTROPY = "binary-cross-entropy"


class MaskLoss(RecipePart):
    """Loss of one mask and its weight in the sum."""

    kind: MaskLossKind
    weight: float = Field(default=1.0, gt=0)


class ClassLoss(RecipePart):
    """Loss of the class and its weight in the sum."""

    kind: ClassLossKind
    weight: float = Field(default=1.0, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)


class Losses(RecipePart):
    """One loss for each output that is trained; they are summed."""

    lung: MaskLoss | None = None
    infection: MaskLoss | None = None
    classes: ClassLoss | None = None


class FilmAugmentation(RecipePart):
    """Largest random change of each kind that films go through in practice: geometry, exposure and quality."""

    kind: Literal["film"]
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


class Fill(StrEnum):
    """What a film that was moved shows where nothing of it came to lie."""

    BLACK = "black"
    NEAREST = "nearest"


class AffineAugmentation(RecipePart):
    """Geometry alone, as Keras' image generator draws it (hybrid, section Classification, Data Augmentation)."""

    kind: Literal["affine"]
    rotate_degrees: float = Field(default=0.0, ge=0, le=180)
    shift: float = Field(default=0.0, ge=0, lt=1, description="Share of the side, each way.")
    shear: float = Field(default=0.0, ge=0, lt=1, description="Columns a row moves by, per row.")
    zoom: float = Field(default=0.0, ge=0, lt=1, description="Share by which either side grows or shrinks.")
    fill: Fill = Fill.BLACK


Augmentation = Annotated[FilmAugmentation | AffineAugmentation, Field(discriminator="kind")]
