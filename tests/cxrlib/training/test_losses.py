"""Losses ignore films without the label, reward right predictions, and match their papers."""

from __future__ import annotations

import pytest
import torch

from cxrlib.training.hyperparameters import ClassLoss, ClassLossKind, MaskLossKind
from cxrlib.training.losses import class_loss, mask_loss

CATEGORICAL = ClassLoss(kind=ClassLossKind.CATEGORICAL_CROSS_ENTROPY)
BINARY = ClassLoss(kind=ClassLossKind.BINARY_CROSS_ENTROPY)
SMOOTHED = [
    plan.model_copy(update={"label_smoothing": smoothing}) for plan in (CATEGORICAL, BINARY) for smoothing in (0.0, 0.1)
]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("kind", MaskLossKind)
def test_film_without_annotation_does_not_change_the_mask_loss(kind: MaskLossKind) -> None:
    logits = torch.randn(3, 32, 32)
    truth = torch.zeros(3, 32, 32)
    truth[:, :16] = 1
    both = mask_loss(kind, logits[:2], truth[:2], torch.tensor([True, True]))
    truth[2] = torch.rand(32, 32).round()
    one_left_out = mask_loss(kind, logits, truth, torch.tensor([True, True, False]))
    assert one_left_out == pytest.approx(both.item())
    assert mask_loss(kind, logits, truth, torch.zeros(3, dtype=torch.bool)).item() == 0


@pytest.mark.parametrize("kind", MaskLossKind)
def test_right_mask_has_a_lower_loss_than_a_wrong_one(kind: MaskLossKind) -> None:
    truth = torch.zeros(1, 32, 32)
    truth[:, 8:24, 8:24] = 1
    known = torch.tensor([True])
    right, wrong = (mask_loss(kind, logits, truth, known) for logits in ((truth - 0.5) * 20, (0.5 - truth) * 20))
    assert right < 0.01
    assert wrong > 0.9


@pytest.mark.parametrize("kind", MaskLossKind)
def test_mask_loss_and_gradient_are_finite_on_empty_masks(kind: MaskLossKind) -> None:
    logits = (torch.randn(2, 32, 32) * 30).requires_grad_()
    loss = mask_loss(kind, logits, torch.zeros(2, 32, 32), torch.tensor([True, True]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_hybrid_loss_is_the_same_under_autocast() -> None:
    """bf16 is too coarse for the variances of structural similarity."""
    logits, truth = torch.randn(2, 64, 64), torch.rand(2, 64, 64).round()
    known = torch.tensor([True, True])
    plain = mask_loss(MaskLossKind.JACCARD_SSIM_FOCAL, logits, truth, known)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert mask_loss(MaskLossKind.JACCARD_SSIM_FOCAL, logits, truth, known) == plain


@pytest.mark.parametrize("plan", SMOOTHED, ids=str)
def test_film_of_unknown_class_does_not_change_the_class_loss(plan: ClassLoss) -> None:
    logits = torch.randn(3, 3)
    known = class_loss(plan, logits[:2], torch.tensor([0, 2]))
    assert class_loss(plan, logits, torch.tensor([0, 2, -100])) == pytest.approx(known.item())
    assert class_loss(plan, logits, torch.tensor([-100] * 3)).item() == 0


def test_binary_class_loss_treats_each_class_separately() -> None:
    logits = torch.tensor([[2.0, 0.5, -1.0]])
    p = torch.softmax(logits, dim=1)[0]
    by_hand = -(torch.log(p[0]) + torch.log(1 - p[1]) + torch.log(1 - p[2])) / 3
    assert class_loss(BINARY, logits, torch.tensor([0])) == pytest.approx(by_hand.item())


def test_binary_cross_entropy_equals_the_papers_softmax_over_two_channels() -> None:
    """qu-ex Eq. 1 sums over a softmax of background and foreground, which equals a sigmoid of their difference."""
    background, lung = torch.randn(1, 8, 8), torch.randn(1, 8, 8)
    truth = torch.rand(1, 8, 8).round()
    two = torch.nn.functional.cross_entropy(torch.stack([background, lung], dim=1), truth.long())
    one = mask_loss(MaskLossKind.BINARY_CROSS_ENTROPY, lung - background, truth, torch.tensor([True]))
    assert one == pytest.approx(two.item(), rel=1e-5)
