"""A training killed in each of its networks and resumed has the history and weights of an undisturbed one.

`tests/cxrlib/training/test_training.py` stops a training at chosen steps; here SIGKILL ends the process.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from cxrlib.models.bundle import load_bundle
from cxrlib.training.callback import HISTORY_FILE
from cxrlib.training.recipe import load_recipe
from tests.systems.command import DATA, cxr, cxr_killed, needs_data

RECIPE, FILMS, EPOCHS = "inflocnet", 4, 3

pytestmark = [pytest.mark.systems, needs_data]


def _train(folder: Path) -> list[str]:
    shortened = ["--films", str(FILMS), "--epochs", str(EPOCHS)]
    folders = ["--out", str(folder / "bundle"), "--work", str(folder / "work")]
    return ["train", RECIPE, "--data", str(DATA), *folders, *shortened]


def _histories(folder: Path) -> dict[str, str]:
    return {path.parent.name: path.read_text() for path in sorted(folder.glob(f"work/*/{HISTORY_FILE}"))}


def _has_an_epoch(folder: Path, network: str) -> bool:
    """Return whether the history of a network has an epoch: its checkpoint is being written, or the next epoch runs."""
    return len(_histories(folder).get(network, "").splitlines()) > 1


def test_training_killed_in_each_network_has_the_same_history_and_weights(tmp_path: Path) -> None:
    networks = [network.name for network in load_recipe(RECIPE).networks]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for folder in (undisturbed, killed):
        folder.mkdir()
    cxr(*_train(undisturbed), cwd=tmp_path)
    for network in networks:
        cxr_killed(*_train(killed), cwd=tmp_path, when=partial(_has_an_epoch, killed, network))
        assert len(_histories(killed)[network].splitlines()) < 1 + EPOCHS, (
            f"expected {network} to be killed before its last epoch"
        )
        assert not (killed / "bundle").exists()
    cxr(*_train(killed), cwd=tmp_path)
    assert _histories(killed) == _histories(undisturbed)
    assert _histories(killed).keys() == set(networks)
    assert load_bundle(str(killed / "bundle")).digest == load_bundle(str(undisturbed / "bundle")).digest
