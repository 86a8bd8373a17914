"""History of a training: best epoch, early stop, CSV round trip and learning curve; schedules and optimisers."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch

from cxrlib.errors import UsageError
from cxrlib.training.history import StopReason, best_epoch, check_finite, draw_curve, read_csv, stop_reason, write_csv
from cxrlib.training.hyperparameters import Adam, AdamW, Monitor, OneCycle, Plateau, Sgd
from cxrlib.training.optimisers import build_optimiser, one_cycle_schedule, plateau_schedule
from tests.support.tiny_recipes import recipe_network, tiny_recipe


def rows(*losses: float) -> list[dict[str, float]]:
    return [
        {"epoch": epoch, "rate": 1e-3 / 3, "train_loss": loss + 0.1, "val_accuracy": 1 - loss, "val_loss": loss}
        for epoch, loss in enumerate(losses)
    ]


def test_best_epoch_is_the_first_with_the_best_value() -> None:
    history = rows(0.9, 0.5, 0.7, 0.5)
    assert best_epoch(history, Monitor.LOSS) == 1
    assert best_epoch(history, Monitor.ACCURACY) == 1


def test_monitor_that_was_not_measured_is_refused() -> None:
    with pytest.raises(
        UsageError, match="expected val_lung_dice to be measured in each epoch; got val_accuracy, val_loss"
    ):
        best_epoch(rows(0.5), Monitor.LUNG_DICE)


@pytest.mark.parametrize(
    ("losses", "ended"),
    [
        ((0.9, 0.5), None),
        ((0.9, 0.5, 0.6), None),
        ((0.9, 0.5, 0.6, 0.5), StopReason.EARLY_STOP),
        ((0.9, 0.5, 0.6, 0.4), None),
        ((0.9, 0.8, 0.7, 0.6, 0.5, 0.4), StopReason.EPOCHS),
        ((), None),
    ],
)
def test_training_stops_after_patience_epochs_without_improvement(
    losses: tuple[float, ...], ended: StopReason | None
) -> None:
    plan = tiny_recipe(recipe_network(epochs=6, early_stop={"patience": 2})).networks[0]
    assert stop_reason(rows(*losses), plan) is ended


def test_history_round_trips_through_csv(tmp_path: Path) -> None:
    history = rows(1 / 3, 2 / 7)
    write_csv(history, tmp_path / "history.csv")
    assert read_csv(tmp_path / "history.csv") == history


def test_error_for_a_nan_loss_names_network_and_epoch() -> None:
    with pytest.raises(UsageError, match=r"network lung: expected a finite loss; got nan in epoch 4"):
        check_finite({"epoch": 4, "train_loss": float("nan")}, "lung")


@pytest.mark.parametrize("held_out", [True, False])
def test_learning_curve_is_drawn_with_and_without_held_out_films(held_out: bool, tmp_path: Path) -> None:
    history = rows(0.9, 0.5, 0.6)
    if not held_out:
        history = [{name: row[name] for name in ("epoch", "rate", "train_loss")} for row in history]
    draw_curve(history, "lung", tmp_path / "curve.png", 1 if held_out else None)
    curve = cv2.imread(str(tmp_path / "curve.png"))
    assert curve is not None
    assert curve.std() > 5


def test_plateau_rate_falls_after_patience_epochs_without_improvement() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    rate = plateau_schedule(Plateau(kind="plateau", factor=0.2, patience=3, floor=0.03), optimiser)
    got = []
    for loss in (0.9, 0.8, 0.8, 0.8, 0.8, 0.81, 0.82, 0.83, 0.9, 0.9, 0.9):
        rate.step(loss)
        got.append(optimiser.param_groups[0]["lr"])
    assert got == pytest.approx([1, 1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04, 0.04, 0.03])


def test_one_cycle_rate_rises_to_its_maximum_and_ends_near_zero() -> None:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    rate = one_cycle_schedule(OneCycle(kind="one-cycle", warmup=0.2), optimiser, 10)
    got = []
    for _ in range(9):
        optimiser.step()
        rate.step()
        got.append(optimiser.param_groups[0]["lr"])
    assert max(got) == pytest.approx(0.5)
    assert got.index(max(got)) <= 2
    assert got[-1] == pytest.approx(0.5 / 1000)


def test_optimisers_get_the_values_of_the_recipe() -> None:
    network = torch.nn.ModuleDict({"encoder": torch.nn.Linear(2, 2), "head": torch.nn.Linear(2, 1)})
    adam = build_optimiser(Adam(kind="adam", rate=0.1, betas=(0.8, 0.9), weight_decay=0.2), network)
    assert isinstance(adam, torch.optim.Adam)
    assert adam.param_groups[0]["betas"] == (0.8, 0.9)
    assert adam.param_groups[0]["weight_decay"] == 0.2
    sgd = build_optimiser(Sgd(kind="sgd", rate=0.1, momentum=0.9), network)
    assert isinstance(sgd, torch.optim.SGD)
    adamw = build_optimiser(AdamW(kind="adamw", rate=0.1, encoder_factor=0.5, weight_decay=0.02), network)
    values = {(group["lr"], group["weight_decay"]) for group in adamw.param_groups}
    assert values == {(0.05, 0.02), (0.05, 0.0), (0.1, 0.02), (0.1, 0.0)}
    assert sum(len(group["params"]) for group in adamw.param_groups) == 4
