"""Fit one network with Lightning, and read its checkpoints."""

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

from cxr_schemas.card import BundleInput
from cxrlib.errors import UsageError
from cxrlib.models.inference.devices import choose_device
from cxrlib.models.inference.precision import Precision, choose_precision
from cxrlib.training.callback import BEST_FILE, LAST_FILE, STATE_KEY, TrainingCallback
from cxrlib.training.history import EpochRow, StopReason
from cxrlib.training.lightning_module import NetworkModule
from cxrlib.training.recipe import NetworkPlan
from cxrlib.training.training_films import TrainingFilms


class _EpochOrder(Sampler[int]):
    """A shuffled order that depends on seed and epoch only, so that a resumed training sees the same batches.

    Lightning calls `set_epoch` before each epoch, which also sets the epoch of the films' augmentation.
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
    reads: BundleInput,
    network: nn.Module,
    *,
    training: TrainingFilms,
    held_out: TrainingFilms,
    folder: Path,
    deadline: float | None,
    report: Callable[[str], None],
) -> StopReason:
    """Train `network` until it is finished or out of time. Checkpoints, history and curve are stored in `folder`.

    A training with a checkpoint in `folder` is resumed. On a CPU with the same number of threads, the result is
    identical to that of an uninterrupted training, byte by byte.

    Parameters
    ----------
    plan : NetworkPlan
    reads : BundleInput
        The network's grid and normalisation.
    network : nn.Module
    training, held_out : TrainingFilms
    folder : Path
    deadline : float or None
        Monotonic time in seconds after which no further epoch starts.
    report : callable
        Called with one line of text after each epoch.

    Returns
    -------
    StopReason

    Raises
    ------
    UsageError
        The plan monitors held-out films and there are none, or the loss is no longer finite.
    """
    monitors = plan.monitors
    if monitors and not len(held_out):
        raise UsageError(
            f"network {plan.name}: expected held-out films, because its training monitors "
            f"{', '.join(sorted(monitors))}; got none (validation = {plan.validation})"
        )
    device = choose_device("auto")
    # An incomplete last batch is left out, unless it is the only one.
    drop_last = len(training) >= plan.batch
    workers = 0 if device == "cpu" else min(8, os.cpu_count() or 1)
    loader = DataLoader(
        training, batch_size=plan.batch, sampler=_EpochOrder(training), drop_last=drop_last, num_workers=workers
    )
    held = DataLoader(held_out, batch_size=plan.batch, num_workers=workers) if len(held_out) else None
    module = NetworkModule(plan, reads, network, training.seed, steps=plan.all_epochs * len(loader))
    callback = TrainingCallback(plan, folder, deadline, report)
    callbacks: list[Callback] = [callback]
    if plan.average_decay is not None:
        callbacks.insert(0, EMAWeightAveraging(decay=plan.average_decay))
    reduced = choose_precision("auto", device) is Precision.BF16
    trainer = Trainer(
        max_epochs=plan.all_epochs,
        accelerator="cpu" if device == "cpu" else "cuda",
        devices=1,
        precision="bf16-mixed" if reduced else "32-true",
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,  # TrainingCallback writes the checkpoints
        enable_model_summary=False,
        enable_progress_bar=sys.stderr.isatty(),
        gradient_clip_val=plan.clip,
        num_sanity_val_steps=0,
    )
    last = folder / LAST_FILE
    trainer.fit(
        module, _untyped(loader), _untyped(held), ckpt_path=str(last) if last.exists() else None, weights_only=True
    )
    return callback.ended or StopReason.EPOCHS


def saved_history(folder: Path) -> list[EpochRow]:
    """Return the history in a network's latest checkpoint; empty without a checkpoint."""
    if not (folder / LAST_FILE).exists():
        return []
    rows: list[EpochRow] = _checkpoint(folder / LAST_FILE)["callbacks"][STATE_KEY]["rows"]
    return rows


def exported_state(plan: NetworkPlan, folder: Path) -> dict[str, Tensor]:
    """Return the network state to export: that of the best epoch if the plan chooses one, else of the last."""
    state = _checkpoint(folder / (LAST_FILE if plan.best is None else BEST_FILE))["state_dict"]
    prefix = "network."
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _checkpoint(path: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return loaded


def _untyped(loader: DataLoader[Any] | None) -> Any:
    return loader
