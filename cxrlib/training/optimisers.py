"""Build torch optimisers and learning-rate schedules from a recipe."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from cxrlib.training.hyperparameters import Adam, AdamW, OneCycle, Optimiser, Plateau


def build_optimiser(plan: Optimiser, network: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser for a network's parameters."""
    if isinstance(plan, AdamW):
        return torch.optim.AdamW(_parameter_groups(plan, network))
    parameters = list(network.parameters())
    if isinstance(plan, Adam):
        return torch.optim.Adam(parameters, lr=plan.rate, betas=plan.betas, weight_decay=plan.weight_decay)
    return torch.optim.SGD(parameters, lr=plan.rate, momentum=plan.momentum, weight_decay=plan.weight_decay)


def _parameter_groups(plan: AdamW, network: nn.Module) -> list[dict[str, object]]:
    """Return groups by encoder or not (rate) and kernel or not (weight decay)."""
    groups: list[dict[str, object]] = []
    for encoder in (True, False):
        rate = plan.rate * (plan.encoder_factor if encoder else 1.0)
        for decayed in (True, False):
            parameters = [
                parameter
                for name, parameter in network.named_parameters()
                if ("encoder." in name) is encoder and (parameter.ndim > 1) is decayed
            ]
            decay = plan.weight_decay if decayed else 0.0
            if parameters:
                groups.append({"params": parameters, "lr": rate, "weight_decay": decay})
    return groups


def one_cycle_schedule(plan: OneCycle, optimiser: torch.optim.Optimizer, steps: int) -> OneCycleLR:
    """Return the one-cycle schedule over `steps` steps. Step it after each training step."""
    return OneCycleLR(
        optimiser,
        max_lr=[float(group["lr"]) for group in optimiser.param_groups],
        total_steps=steps,
        pct_start=plan.warmup,
        div_factor=10,
        final_div_factor=100,
    )


def plateau_schedule(plan: Plateau, optimiser: torch.optim.Optimizer) -> ReduceLROnPlateau:
    """Return the plateau schedule. Step it with the monitored value after each epoch.

    torch waits one bad epoch longer than its patience; the papers, like Keras, wait exactly as many. Any improvement
    counts, however small.
    """
    return ReduceLROnPlateau(
        optimiser,
        mode="min" if plan.monitor.lower_is_better else "max",
        factor=plan.factor,
        patience=plan.patience - 1,
        threshold=0.0,
        min_lr=plan.floor,
        eps=0.0,
    )
