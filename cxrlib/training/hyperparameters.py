"""The parts of a recipe that say how one network is trained: optimiser, schedule, losses, stopping, augmentation.

Each option is a separate model, selected by ``kind`` in the recipe, so that a recipe states only what its paper states.
This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field


class RecipePart(BaseModel):
    """Base of all parts of a recipe: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Monitor(StrEnum):
    """A value measured on the held-out films."""

    LOSS = "val_loss"
    ACCURACY = "val_accuracy"
    LUNG_DICE = "val_lung_dice"
    INFECTION_DICE = "val_infection_dice"

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower value is better."""
        return self is Monitor.LOSS

    def is_measured(self, outputs: Collection[str]) -> bool:
        """Return whether the training of a network with these outputs measures it."""
        return _MEASURED_BY[self] is None or _MEASURED_BY[self] in outputs


_MEASURED_BY: Final[Mapping[Monitor, str | None]] = {
    Monitor.LOSS: None,
    Monitor.ACCURACY: "classes",
    Monitor.LUNG_DICE: "lung",
    Monitor.INFECTION_DICE: "infection",
}


class Adam(RecipePart):
    """Adam (Kingma and Ba). Weight decay is added to the gradient as an L2 term."""

    kind: Literal["adam"]
    rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)


class AdamW(RecipePart):
    """AdamW. Norms and biases (tensors of one dimension) are not decayed. The encoder may have a lower rate."""

    kind: Literal["adamw"]
    rate: float = Field(gt=0)
    encoder_factor: float = Field(default=1.0, gt=0, description="Rate of the encoder, as a fraction of `rate`.")
    weight_decay: float = Field(default=0.01, ge=0)


class Sgd(RecipePart):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"]
    rate: float = Field(gt=0)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)


Optimiser = Annotated[Adam | AdamW | Sgd, Field(discriminator="kind")]


class Constant(RecipePart):
    """The rate is constant."""

    kind: Literal["constant"] = "constant"


class OneCycle(RecipePart):
    """The rate rises from a tenth to its full value, then falls to a thousandth of it, over all steps."""

    kind: Literal["one-cycle"]
    warmup: float = Field(ge=0, le=1, description="Share of all steps in which the rate rises.")


class Plateau(RecipePart):
    """The rate is multiplied by `factor` each time `monitor` has not improved for `patience` epochs."""

    kind: Literal["plateau"]
    factor: float = Field(gt=0, lt=1)
    patience: int = Field(ge=1)
    floor: float = Field(default=0.0, ge=0, description="The rate does not fall below this.")
    monitor: Monitor = Monitor.LOSS


Schedule = Annotated[Constant | OneCycle | Plateau, Field(discriminator="kind")]


class EarlyStop(RecipePart):
    """Training ends when `monitor` has not improved for `patience` epochs."""

    patience: int = Field(ge=1)
    monitor: Monitor = Monitor.LOSS


class MaskLossKind(StrEnum):
    """Loss of a mask; `cxrlib.training.losses` defines each."""

    BINARY_CROSS_ENTROPY = "binary-cross-entropy"
    BINARY_CROSS_ENTROPY_DICE = "binary-cross-entropy-dice"
    DICE = "dice"
    JACCARD_SSIM_FOCAL = "jaccard-ssim-focal"


class ClassLossKind(StrEnum):
    """Loss of the class; `cxrlib.training.losses` defines each."""

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
    """The loss of each trained output. The total loss is their weighted sum."""

    lung: MaskLoss | None = None
    infection: MaskLoss | None = None
    classes: ClassLoss | None = None


class FilmAugmentation(RecipePart):
    """Limits of the random changes that films show in practice: geometry, exposure and quality."""

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
    """Pixels of a moved film that come from outside it."""

    BLACK = "black"
    NEAREST = "nearest"


class AffineAugmentation(RecipePart):
    """Geometry only, as Keras' image generator draws it (hybrid, section Classification, Data Augmentation)."""

    kind: Literal["affine"]
    rotate_degrees: float = Field(default=0.0, ge=0, le=180)
    shift: float = Field(default=0.0, ge=0, lt=1, description="Largest shift each way, as a fraction of the side.")
    shear: float = Field(default=0.0, ge=0, lt=1, description="Columns by which each row is shifted against the next.")
    zoom: float = Field(default=0.0, ge=0, lt=1, description="Largest change of each side, as a fraction.")
    fill: Fill = Fill.BLACK


Augmentation = Annotated[FilmAugmentation | AffineAugmentation, Field(discriminator="kind")]
