"""The training step of one network as a Lightning module."""

from __future__ import annotations

from typing import Any, Final

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional

from cxr_schemas.card import BundleInput
from cxrlib.training.hyperparameters import OneCycle
from cxrlib.training.losses import class_loss, mask_loss
from cxrlib.training.optimisers import build_optimiser, one_cycle_schedule
from cxrlib.training.recipe import NetworkPlan
from cxrlib.training.training_films import Batch

_MASKS: Final = ("lung", "infection")


class NetworkModule(LightningModule):
    """Train one network on all its outputs at once. Each film contributes to the outputs that it has labels for.

    Parameters
    ----------
    plan : NetworkPlan
    reads : BundleInput
        The network's grid and normalisation.
    network : nn.Module
        As built by the catalog: (films, 1, rows, columns) to logits by output.
    seed : int
    steps : int
        Total number of training steps, needed by the one-cycle schedule.
    """

    def __init__(self, plan: NetworkPlan, reads: BundleInput, network: nn.Module, seed: int, steps: int) -> None:
        super().__init__()
        self.plan = plan
        self.reads = reads
        self.network = network
        self.seed = seed
        self.steps = steps

    def _resized(self, batch: Batch, side: int | None) -> Batch:
        if side is None or batch["film"].shape[-1] == side:
            return batch
        resized = batch.copy()
        resized["film"] = functional.interpolate(batch["film"], size=(side, side), mode="area")
        for name in _MASKS:
            masks = functional.interpolate(batch[name][:, None], size=(side, side), mode="area")
            resized[name] = (masks[:, 0] > 0.5).float()
        return resized

    def _logits(self, batch: Batch) -> dict[str, Tensor]:
        films = batch["film"]
        if self.plan.reads == "lung_masked_film":
            films = films * batch["lung"][:, None]
        normalised = ((films - self.reads.mean) / self.reads.std).contiguous(memory_format=torch.channels_last)
        logits: dict[str, Tensor] = self.network(normalised)
        return logits

    def _losses(self, batch: Batch, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        losses = {}
        for name in _MASKS:
            plan = getattr(self.plan.loss, name)
            if plan is not None:
                loss = mask_loss(plan.kind, logits[name], batch[name], batch[f"has_{name}"])  # type: ignore[literal-required]
                losses[name] = plan.weight * loss
        classes = self.plan.loss.classes
        if classes is not None:
            losses["classes"] = classes.weight * class_loss(classes, logits["classes"], batch["class_index"])
        return losses

    def training_step(self, batch: Batch, _batch_index: int) -> Tensor:
        """Return the total loss, and log each part by name."""
        # Dropout is seeded by step, so that a resumed training repeats the uninterrupted one.
        torch.manual_seed(self.seed + self.global_step)
        batch = self._resized(batch, self.plan.side(self.current_epoch))
        losses = self._losses(batch, self._logits(batch))
        total = torch.stack(list(losses.values())).sum()
        self._log({f"train_{name}": value.detach() for name, value in losses.items()}, len(batch["film"]))
        self._log({"train_loss": total.detach()}, len(batch["film"]), prog_bar=True)
        return total

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Log the losses on the held-out films at full size, the mean Dice of each mask and the class accuracy."""
        logits = self._logits(batch)
        losses = self._losses(batch, logits)
        size = len(batch["film"])
        self._log({f"val_{name}": value for name, value in losses.items()}, size)
        self._log({"val_loss": torch.stack(list(losses.values())).sum()}, size, prog_bar=True)
        for name in _MASKS:
            annotated = batch[f"has_{name}"]  # type: ignore[literal-required]
            if name in losses and bool(annotated.any()):
                dice = _dice(logits[name][annotated], batch[name][annotated])
                self._log({f"val_{name}_dice": dice.mean()}, len(dice))
        known = batch["class_index"] >= 0
        if "classes" in losses and bool(known.any()):
            right = logits["classes"][known].argmax(dim=1) == batch["class_index"][known]
            self._log({"val_accuracy": right.float().mean()}, len(right))

    def _log(self, values: dict[str, Tensor], films: int, *, prog_bar: bool = False) -> None:
        self.log_dict(values, on_step=False, on_epoch=True, batch_size=films, prog_bar=prog_bar)

    def configure_optimizers(self) -> Any:
        """Return the plan's optimiser, and its schedule if the rate changes with each step."""
        optimiser = build_optimiser(self.plan.optimiser, self.network)
        if not isinstance(self.plan.schedule, OneCycle):
            return optimiser
        schedule = one_cycle_schedule(self.plan.schedule, optimiser, self.steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _dice(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the Dice of each film's mask at probability 0.5, (films,). Two empty masks have a Dice of 1."""
    found, truth = (logits > 0).flatten(1), (truth > 0.5).flatten(1)
    total = found.sum(dim=1) + truth.sum(dim=1)
    overlap = 2 * (found & truth).sum(dim=1)
    return torch.where(total > 0, overlap / total.clamp(min=1), 1.0)
