"""Losses over films with incomplete labels: each loss counts only the films that have its label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

from cxrlib.training.hyperparameters import ClassLoss, ClassLossKind, MaskLossKind

_DICE: Final = smp.losses.DiceLoss(mode="binary", from_logits=True)
_JACCARD: Final = smp.losses.JaccardLoss(mode="binary", from_logits=True)
_FOCAL: Final = smp.losses.FocalLoss(mode="binary", gamma=2.0)


def mask_loss(kind: MaskLossKind, logits: Tensor, truth: Tensor, annotated: Tensor) -> Tensor:
    """Return the loss of a mask over the annotated films; 0 if there are none.

    Parameters
    ----------
    kind : MaskLossKind
    logits, truth : (films, rows, columns) float
    annotated : (films,) bool
        Films where this is False are left out.
    """
    if not bool(annotated.any()):
        return logits.sum() * 0.0
    return _MASK_LOSSES[kind](logits[annotated].float(), truth[annotated])


def class_loss(plan: ClassLoss, logits: Tensor, class_index: Tensor) -> Tensor:
    """Return the class loss over the films of known class (index not negative); 0 if there are none.

    Binary cross-entropy treats each softmax output as a separate yes-or-no prediction. Keras does the same for a
    softmax network compiled with this loss, as inflocnet's is (section 5.3.1, Table 3).
    """
    known = class_index >= 0
    if not bool(known.any()):
        return logits.sum() * 0.0
    if plan.kind is ClassLossKind.CATEGORICAL_CROSS_ENTROPY:
        return functional.cross_entropy(logits.float(), class_index, label_smoothing=plan.label_smoothing)
    with torch.autocast(logits.device.type, enabled=False):
        probability = torch.softmax(logits[known].float(), dim=1)
        truth = functional.one_hot(class_index[known], probability.shape[1]).float()
        if plan.label_smoothing:
            truth = truth * (1 - plan.label_smoothing) + plan.label_smoothing / probability.shape[1]
        return functional.binary_cross_entropy(probability, truth)


def _binary_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean binary cross-entropy over pixels.

    It equals the cross-entropy over a softmax of background and foreground (qu-ex Eq. 1) up to a factor.
    """
    return functional.binary_cross_entropy_with_logits(logits, truth)


def _binary_cross_entropy_dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy plus one minus the mean soft Dice of the films.

    Soft Dice counts only films with a mask that is not empty. On an empty mask it rewards only exact zeros, which the
    cross-entropy does better.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    positive = truth.flatten(1).sum(dim=1) > 0
    if not bool(positive.any()):
        return entropy
    probability, truth = torch.sigmoid(logits[positive]).flatten(1), truth[positive].flatten(1)
    overlap = (probability * truth).sum(dim=1)
    dice = (2 * overlap + 1) / (probability.sum(dim=1) + truth.sum(dim=1) + 1)
    return entropy + (1 - dice).mean()


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    """One minus the soft Dice of all pixels of the batch."""
    loss: Tensor = _DICE(logits[:, None], truth[:, None])
    return loss


def _jaccard_ssim_focal(logits: Tensor, truth: Tensor) -> Tensor:
    """Sum of Jaccard loss, one minus structural similarity, and focal loss.

    pneumonia-seg section 5 calls the sum ``unet3p_hybrid_loss`` and gives no weights. The name refers to UNet 3+ (Huang
    et al. 2020), which adds the three without weights.
    """
    logits, truth = logits[:, None], truth[:, None]
    # Autocast would run the windowed means of the similarity in bf16, which is too coarse for variances.
    with torch.autocast(logits.device.type, enabled=False):
        similarity = structural_similarity_index_measure(torch.sigmoid(logits), truth, data_range=1.0)
        total: Tensor = _JACCARD(logits, truth) + _FOCAL(logits, truth) + (1.0 - cast("Tensor", similarity))
    return total


_MASK_LOSSES: Final[Mapping[MaskLossKind, Callable[[Tensor, Tensor], Tensor]]] = {
    MaskLossKind.BINARY_CROSS_ENTROPY: _binary_cross_entropy,
    MaskLossKind.BINARY_CROSS_ENTROPY_DICE: _binary_cross_entropy_dice,
    MaskLossKind.DICE: _dice,
    MaskLossKind.JACCARD_SSIM_FOCAL: _jaccard_ssim_focal,
}
