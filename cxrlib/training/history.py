"""The history of a network's training: one row per epoch.

The best epoch and the end of the training are computed from these rows only. The checkpoint stores the rows, so a
resumed training decides like an uninterrupted one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from matplotlib.figure import Figure

from cxrlib.errors import UsageError
from cxrlib.training.hyperparameters import Monitor
from cxrlib.training.recipe import NetworkPlan

#: Values of one epoch by name: ``epoch`` (from 0), ``rate``, then ``train_...`` and ``val_...``.
EpochRow = Mapping[str, float]


class StopReason(StrEnum):
    """Why a training ended."""

    EPOCHS = "all epochs done"
    EARLY_STOP = "no gain on the held-out films"
    TIME = "out of time"


def best_epoch(rows: Sequence[EpochRow], monitor: Monitor) -> int:
    """Return the first of the epochs with the best value of `monitor`, counted from 0.

    Raises
    ------
    UsageError
        The training does not measure `monitor`.
    """
    if monitor not in rows[0]:
        measured = ", ".join(sorted(set(rows[0]) & {each.value for each in Monitor})) or "nothing on held-out films"
        raise UsageError(f"expected {monitor.value} to be measured in each epoch; got {measured}")
    sign = 1 if monitor.lower_is_better else -1
    return min(range(len(rows)), key=lambda epoch: (sign * rows[epoch][monitor], epoch))


def stop_reason(rows: Sequence[EpochRow], plan: NetworkPlan) -> StopReason | None:
    """Return why a training ends after these epochs; None if it continues."""
    if len(rows) >= plan.all_epochs:
        return StopReason.EPOCHS
    stop = plan.early_stop
    if stop is not None and rows and len(rows) - 1 - best_epoch(rows, stop.monitor) >= stop.patience:
        return StopReason.EARLY_STOP
    return None


def check_finite(row: EpochRow, network: str) -> None:
    """Raise `UsageError` if the loss of an epoch is not finite, because it will not recover."""
    if not math.isfinite(row["train_loss"]):
        raise UsageError(
            f"network {network}: expected a finite loss; got {row['train_loss']} in epoch {int(row['epoch'])}. "
            "Try a lower rate, or limit the norm of the gradient (clip)"
        )


def write_csv(rows: Sequence[EpochRow], path: Path) -> None:
    """Write the history as CSV, each value with all its digits."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, float]]:
    """Read a history written by `write_csv`."""
    with path.open(newline="") as file:
        return [
            {name: int(value) if name == "epoch" else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def draw_curve(rows: Sequence[EpochRow], title: str, path: Path, best: int | None = None) -> None:
    """Draw the learning curve as a PNG: loss and rate, and below them the metrics on the held-out films."""
    epochs = [int(row["epoch"]) + 1 for row in rows]
    measured = [name for name in rows[0] if name.endswith(("_dice", "_accuracy"))]
    figure = Figure(figsize=(7, 6 if measured else 3.5), layout="constrained")
    panels = figure.subplots(2 if measured else 1, 1, sharex=True, squeeze=False)[:, 0]
    for name, label in (("train_loss", "training"), ("val_loss", "held out")):
        if name in rows[0]:
            panels[0].plot(epochs, [row[name] for row in rows], marker=".", label=label)
    panels[0].set(ylabel="loss", title=title)
    rate = panels[0].twinx()
    rate.step(epochs, [row["rate"] for row in rows], where="mid", color="0.7", linewidth=1)
    rate.set(ylabel="rate", yscale="log")
    for name in measured:
        label = name.removeprefix("val_").replace("_", " ")
        panels[1].plot(epochs, [row[name] for row in rows], marker=".", label=label)
    if measured:
        panels[1].set(ylabel="held out", ylim=(0, 1))
    for panel in panels:
        if best is not None:
            panel.axvline(best + 1, color="0.5", linestyle=":", label=f"best, epoch {best + 1}")
        panel.legend()
    panels[-1].set(xlabel="epoch")
    panels[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.savefig(path, dpi=110)
