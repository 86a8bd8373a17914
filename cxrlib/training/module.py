"""The training step as a Lightning module."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional

from cxrlib.training.films import Batch
from cxrlib.training.losses import class_loss, mask_loss
from cxrlib.training.recipe import Recipe


class MultitaskModule(LightningModule):
    """Trains one network on all of its outputs at once, whichever labels a film has."""

    def __init__(self, recipe: Recipe, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.network = network
        self.steps = steps

    def _resized(self, batch: Batch, side: int) -> Batch:
        if batch["film"].shape[-1] == side:
            return batch
        resized = batch.copy()
        resized["film"] = functional.interpolate(batch["film"], size=(side, side), mode="area")
        for name in ("lung", "infection"):
            masks = functional.interpolate(batch[name][:, None], size=(side, side), mode="area")
            resized[name] = (masks[:, 0] > 0.5).float()
        return resized

    def _logits(self, films: Tensor) -> dict[str, Tensor]:
        mean, std = self.recipe.input.mean, self.recipe.input.std
        normalised = ((films - mean) / std).contiguous(memory_format=torch.channels_last)
        logits: dict[str, Tensor] = self.network(normalised)
        return logits

    def _losses(self, batch: Batch) -> dict[str, Tensor]:
        logits = self._logits(batch["film"])
        weights = self.recipe.loss
        losses = {
            "lung": weights.lung * mask_loss(logits["lung"], batch["lung"], batch["has_lung"]),
            "infection": weights.infection * mask_loss(logits["infection"], batch["infection"], batch["has_infection"]),
        }
        if "classes" in logits:
            smoothing = weights.label_smoothing
            losses["classes"] = weights.classes * class_loss(logits["classes"], batch["class_index"], smoothing)
        return losses

    def training_step(self, batch: Batch, _batch_index: int) -> Tensor:
        """Return the summed loss; each part is logged by name."""
        # Dropout is drawn by step, so that a resumed training drops what the undisturbed one would.
        torch.manual_seed(self.recipe.seed + self.global_step)
        losses = self._losses(self._resized(batch, self.recipe.side(self.current_epoch)))
        total = torch.stack(list(losses.values())).sum()
        size = len(batch["film"])
        self.log_dict(
            {f"train_{name}": value.detach() for name, value in losses.items()}, on_epoch=True, batch_size=size
        )
        self.log("train_loss", total.detach(), on_epoch=True, prog_bar=True, batch_size=size)
        return total

    def validation_step(self, batch: Batch, _batch_index: int) -> None:
        """Log the losses and the share of right classes on the held-out groups, at full size."""
        losses = self._losses(batch)
        size = len(batch["film"])
        self.log_dict({f"val_{name}": value for name, value in losses.items()}, batch_size=size)
        self.log("val_loss", torch.stack(list(losses.values())).sum(), prog_bar=True, batch_size=size)

    def configure_optimizers(self) -> Any:
        """AdamW with one cycle; tensors of one dimension (norms, biases) are not decayed."""
        plan = self.recipe.optimiser
        groups = []
        for encoder in (True, False):
            rate = plan.rate * (plan.encoder_factor if encoder else 1.0)
            for decayed in (True, False):
                parameters = [
                    parameter
                    for name, parameter in self.network.named_parameters()
                    if ("encoder." in name) is encoder and (parameter.ndim > 1) is decayed
                ]
                decay = plan.weight_decay if decayed else 0.0
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
        optimiser = torch.optim.AdamW(groups)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser,
            max_lr=[float(str(group["lr"])) for group in groups],
            total_steps=self.steps,
            pct_start=plan.warmup,
            div_factor=10,
            final_div_factor=100,
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
