"""What goes on beside the steps of a training: history, checkpoints, the rate that falls on a plateau, the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from cxrlib.training.history import EpochRow, StopReason, best_epoch, check_finite, draw_curve, stop_reason, write_csv
from cxrlib.training.hyperparameters import Plateau
from cxrlib.training.optimisers import plateau_schedule
from cxrlib.training.recipe import NetworkPlan

#: In a network's work folder: the history, its drawing, and the checkpoints of the newest and of the best epoch.
HISTORY_FILE: Final = "history.csv"
CURVE_FILE: Final = "curve.png"
LAST_FILE: Final = "last.ckpt"
BEST_FILE: Final = "best.ckpt"
#: Key of this callback's state in a checkpoint. It must not change: stored checkpoints are resumed by it.
STATE_KEY: Final = "Course"


class TrainingCallback(Callback):
    """Keeps the history, steps the rate, ends the training and writes checkpoints, which hold all that it knows.

    Lightning's own plateau scheduler is stepped after the checkpoint of its epoch was written, so a training that was
    taken up again would miss a step; this one is stepped before.

    Parameters
    ----------
    plan : NetworkPlan
    folder : Path
        Where history, curve and checkpoints are written after each epoch.
    deadline : float or None
        Time on the monotonic clock, in seconds, after which no further epoch begins.
    report : callable
        Told each epoch in one line.

    Attributes
    ----------
    rows : list of Row
    ended : Ending or None
    """

    def __init__(self, plan: NetworkPlan, folder: Path, deadline: float | None, report: Callable[[str], None]) -> None:
        self.plan = plan
        self.folder = folder
        self.deadline = deadline
        self.report = report
        self.rows: list[EpochRow] = []
        self.ended: StopReason | None = None
        self._rate: ReduceLROnPlateau | None = None
        self._rate_state: dict[str, Any] | None = None
        self._began = time.monotonic()

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint."""
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        """Return what the checkpoint keeps."""
        return {"rows": self.rows, "rate": None if self._rate is None else self._rate.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint kept."""
        self.rows, self._rate_state = list(state_dict["rows"]), state_dict["rate"]

    def on_train_start(self, trainer: Trainer, _module: LightningModule) -> None:
        """Make the rate, and end at once if the history says that all is done."""
        if isinstance(self.plan.schedule, Plateau):
            self._rate = plateau_schedule(self.plan.schedule, trainer.optimizers[0])
            if self._rate_state is not None:
                self._rate.load_state_dict(self._rate_state)
        self._end_if_over(trainer)

    def on_train_epoch_start(self, _trainer: Trainer, _module: LightningModule) -> None:
        """Start the epoch's clock."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, _module: LightningModule) -> None:
        """Add the epoch to the history, step the rate, and end the training if it is time."""
        # The steepest group's rate: the encoder may learn slower than the rest.
        rate = max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
        figures = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        row = {"epoch": trainer.current_epoch, "rate": rate, **figures}
        check_finite(row, self.plan.name)
        self.rows.append(row)
        write_csv(self.rows, self.folder / HISTORY_FILE)
        best = None if self.plan.best is None else best_epoch(self.rows, self.plan.best)
        draw_curve(self.rows, self.plan.name, self.folder / CURVE_FILE, best)
        shown = ", ".join(f"{name} {figures[name]:.4f}" for name in sorted(figures) if _worth_telling(name))
        took = time.monotonic() - self._began
        self.report(f"{self.plan.name}: epoch {len(self.rows)} of {self.plan.all_epochs}, {shown}, {took:.0f} s")
        if self._rate is not None and isinstance(self.plan.schedule, Plateau):
            self._rate.step(row[self.plan.schedule.monitor])
        self._end_if_over(trainer)
        # The best epoch's first: a training killed between the two repeats this epoch, and writes the same again.
        if best == trainer.current_epoch:
            # Where the average of the weights is what is exported, only a whole checkpoint holds it.
            trainer.save_checkpoint(self.folder / BEST_FILE, weights_only=self.plan.average_decay is None)
        trainer.save_checkpoint(self.folder / LAST_FILE)

    def _end_if_over(self, trainer: Trainer) -> None:
        self.ended = stop_reason(self.rows, self.plan)
        if self.ended is None and self.rows and self.deadline is not None and time.monotonic() >= self.deadline:
            self.ended = StopReason.TIME
        if self.ended is not None:
            trainer.should_stop = True


def _worth_telling(name: str) -> bool:
    return name.endswith(("_loss", "_dice", "_accuracy"))
