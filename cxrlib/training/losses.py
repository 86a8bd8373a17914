"""Losses over films of which each has only some of the labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mask_loss(logits: Tensor, truth: Tensor, annotated: Tensor) -> Tensor:
    """Binary cross-entropy plus soft Dice, averaged over the annotated films; 0 where there are none.

    Parameters
    ----------
    logits, truth : (films, rows, columns) float
    annotated : (films,) bool
        Films without this annotation are left out.

    Notes
    -----
    Soft Dice counts only films whose truth is not empty: on an empty one it rewards nothing but exact zeros, which the
    cross-entropy teaches better.
    """
    if not bool(annotated.any()):
        return logits.sum() * 0.0
    logits, truth = logits[annotated].float(), truth[annotated]
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    positive = truth.flatten(1).sum(dim=1) > 0
    if not bool(positive.any()):
        return entropy
    probability, truth = torch.sigmoid(logits[positive]).flatten(1), truth[positive].flatten(1)
    overlap = (probability * truth).sum(dim=1)
    dice = (2 * overlap + 1) / (probability.sum(dim=1) + truth.sum(dim=1) + 1)
    return entropy + (1 - dice).mean()


def class_loss(logits: Tensor, class_index: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy over the films whose class is known (index -100 where it is not); 0 where there are none."""
    if not bool((class_index >= 0).any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits.float(), class_index, label_smoothing=label_smoothing)
