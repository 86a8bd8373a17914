"""Fit one network with Lightning: its films, its callbacks, its checkpoints."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler

from cxr_schemas.card import Input
from cxrlib.errors import UsageError
from cxrlib.models.inference.hardware import Precision, choose_device, choose_precision
from cxrlib.training.callback import BEST_FILE, LAST_FILE, STATE_KEY, TrainingCallback
from cxrlib.training.history import EpochRow, StopReason
from cxrlib.training.lightning_module import NetworkModule
from cxrlib.training.recipe import NetworkPlan
from cxrlib.training.training_films import TrainingFilms


class _EpochOrder(Sampler[int]):
    """A shuffled order that depends on seed and epoch alone, so that a resumed training sees the same batches.

    Lightning calls `set_epoch` before each epoch; the films' own random changes follow it too.
    """

    def __init__(self, films: TrainingFilms) -> None:
        self.films = films

    def set_epoch(self, epoch: int) -> None:
        self.films.epoch = epoch

    def __len__(self) -> int:
        return len(self.films)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.films.seed * 1000 + self.films.epoch)
        return iter(torch.randperm(len(self.films), generator=generator).tolist())


def fit(
    plan: NetworkPlan,
    reads: Input,
    network: nn.Module,
    *,
    training: TrainingFilms,
    held_out: TrainingFilms,
    folder: Path,
    deadline: float | None,
    report: Callable[[str], None],
) -> StopReason:
    """Train `network` until it is done or out of time; checkpoints, history and curve are kept in `folder`.

    A training that was begun there goes on. On a CPU, and with as many threads, it ends in the same bytes as one that
    was never interrupted.

    Parameters
    ----------
    reads : Input
        The network's grid and normalisation.
    deadline : float or None
        Time on the monotonic clock, in seconds, after which no further epoch begins.
    report : callable
        Told each epoch in one line.

    Raises
    ------
    UsageError
        There is nothing to watch where the plan watches the held-out films, or the loss is no longer finite.
    """
    watched = plan.watched
    if watched and not len(held_out):
        raise UsageError(
            f"network {plan.name}: expected held-out films, since its training watches {', '.join(sorted(watched))}; "
            f"got none (validation = {plan.validation})"
        )
    device = choose_device("auto")
    # A few films, fewer than a batch, are one batch; else a last batch that is not full is left out.
    drop_last = len(training) >= plan.batch
    workers = min(8, os.cpu_count() or 1) if device.type == "cuda" else 0
    loader = DataLoader(
        training, batch_size=plan.batch, sampler=_EpochOrder(training), drop_last=drop_last, num_workers=workers
    )
    held = DataLoader(held_out, batch_size=plan.batch, num_workers=workers) if len(held_out) else None
    module = NetworkModule(plan, reads, network, training.seed, steps=plan.all_epochs * len(loader))
    course = TrainingCallback(plan, folder, deadline, report)
    callbacks: list[Callback] = [course]
    if plan.average_decay is not None:
        callbacks.insert(0, EMAWeightAveraging(decay=plan.average_decay))
    reduced = choose_precision("auto", device) is Precision.BF16
    trainer = Trainer(
        max_epochs=plan.all_epochs,
        accelerator=device.type,
        devices=1,
        precision="bf16-mixed" if reduced else "32-true",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,  # the course writes them
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        gradient_clip_val=plan.clip,
        num_sanity_val_steps=0,
    )
    last = folder / LAST_FILE
    trainer.fit(
        module, _untyped(loader), _untyped(held), ckpt_path=str(last) if last.exists() else None, weights_only=True
    )
    return course.ended or StopReason.EPOCHS


def saved_history(folder: Path) -> list[EpochRow]:
    """Return the history in a network's newest checkpoint; empty if it has none."""
    if not (folder / LAST_FILE).exists():
        return []
    rows: list[EpochRow] = _checkpoint(folder / LAST_FILE)["callbacks"][STATE_KEY]["rows"]
    return rows


def exported_state(plan: NetworkPlan, folder: Path) -> dict[str, Tensor]:
    """Return the state of the network to export: that of the best epoch where the plan chooses one, else the last."""
    state = _checkpoint(folder / (LAST_FILE if plan.best is None else BEST_FILE))["state_dict"]
    prefix = "network."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _checkpoint(path: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return loaded


def _untyped(loader: DataLoader[Any] | None) -> Any:
    return loader
