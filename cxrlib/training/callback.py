"""The Lightning callback of a training: writes history and checkpoints, steps a plateau rate, ends the training."""

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

#: Files in a network's work folder: history, learning curve, and the checkpoints of the latest and of the best epoch.
HISTORY_FILE: Final = "history.csv"
CURVE_FILE: Final = "curve.png"
LAST_FILE: Final = "last.ckpt"
BEST_FILE: Final = "best.ckpt"
#: Key of the callback's state in a checkpoint. It must not change, or stored checkpoints could not be resumed.
STATE_KEY: Final = "Course"


class TrainingCallback(Callback):
    """Record the history, step a plateau rate, end the training, and write checkpoints with this callback's state.

    Lightning steps its own plateau scheduler after the checkpoint of an epoch, so a resumed training would miss a step.
    This callback steps the rate before it writes the checkpoint.

    Parameters
    ----------
    plan : NetworkPlan
    folder : Path
        Folder for history, curve and checkpoints, written after each epoch.
    deadline : float or None
        Monotonic time in seconds after which no further epoch starts.
    report : callable
        Called with one line of text after each epoch.

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
        self._epoch_start = time.monotonic()

    @property
    def state_key(self) -> str:
        """Key of this callback's state in a checkpoint."""
        return STATE_KEY

    def state_dict(self) -> dict[str, Any]:
        """Return the state to store in the checkpoint."""
        return {"rows": self.rows, "rate": None if self._rate is None else self._rate.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.rows, self._rate_state = list(state_dict["rows"]), state_dict["rate"]

    def on_train_start(self, trainer: Trainer, _module: LightningModule) -> None:
        """Create the plateau rate, and stop at once if the restored history is complete."""
        if isinstance(self.plan.schedule, Plateau):
            self._rate = plateau_schedule(self.plan.schedule, trainer.optimizers[0])
            if self._rate_state is not None:
                self._rate.load_state_dict(self._rate_state)
        self._stop_if_over(trainer)

    def on_train_epoch_start(self, _trainer: Trainer, _module: LightningModule) -> None:
        """Note the start time of the epoch."""
        self._epoch_start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, _module: LightningModule) -> None:
        """Add the epoch to the history, step the rate, write checkpoints, and stop the training if it is over."""
        # The highest rate of all parameter groups: the encoder may have a lower one.
        rate = max(float(group["lr"]) for group in trainer.optimizers[0].param_groups)
        figures = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        row = {"epoch": trainer.current_epoch, "rate": rate, **figures}
        check_finite(row, self.plan.name)
        self.rows.append(row)
        write_csv(self.rows, self.folder / HISTORY_FILE)
        best = None if self.plan.best is None else best_epoch(self.rows, self.plan.best)
        draw_curve(self.rows, self.plan.name, self.folder / CURVE_FILE, best)
        shown = ", ".join(f"{name} {figures[name]:.4f}" for name in sorted(figures) if _is_reported(name))
        seconds = time.monotonic() - self._epoch_start
        self.report(f"{self.plan.name}: epoch {len(self.rows)} of {self.plan.all_epochs}, {shown}, {seconds:.0f} s")
        if self._rate is not None and isinstance(self.plan.schedule, Plateau):
            self._rate.step(row[self.plan.schedule.monitor])
        self._stop_if_over(trainer)
        # The best checkpoint is written first. If killed before the second, the training repeats this epoch and writes
        # the same again.
        if best == trainer.current_epoch:
            # Averaged weights are stored in full checkpoints only.
            trainer.save_checkpoint(self.folder / BEST_FILE, weights_only=self.plan.average_decay is None)
        trainer.save_checkpoint(self.folder / LAST_FILE)

    def _stop_if_over(self, trainer: Trainer) -> None:
        self.ended = stop_reason(self.rows, self.plan)
        if self.ended is None and self.rows and self.deadline is not None and time.monotonic() >= self.deadline:
            self.ended = StopReason.TIME
        if self.ended is not None:
            trainer.should_stop = True


def _is_reported(name: str) -> bool:
    return name.endswith(("_loss", "_dice", "_accuracy"))
