"""Each paper's system goes from its recipe to a cohort table, with fewer epochs and films (`make test-systems`).

After so short a training most films are rejected because their lung is implausible. The test shows that every step
works: each network trains on real films and its loss decreases, the bundle states how its training was shortened, it is
evaluated, and it scores forty phantoms through Beam, each with a row. Columns that a system does not provide are null
in the rows there are; `tests/pipelines/test_systems.py` checks the same on systems with a plausible lung. The terminal
shows the figures, because they cannot be predicted.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import cxrlib.results.cohort
from cxrlib.models.bundle import load_bundle
from cxrlib.training.callback import CURVE_FILE, HISTORY_FILE
from cxrlib.training.history import read_csv
from cxrlib.training.recipe import load_recipe
from tests.systems.command import DATA, cxr, needs_data

#: Number of phantoms that are scored, and of those that are evaluated.
PHANTOMS, EVALUATED = 40, 40

pytestmark = [pytest.mark.systems, needs_data]


@dataclass(frozen=True)
class ShortTraining:
    """A recipe, its reduced films and epochs, and the columns that its rows must fill or leave null."""

    recipe: str
    films: int
    epochs: int
    filled: tuple[str, ...]
    null: tuple[str, ...]

    def __str__(self) -> str:
        return self.recipe


_LUNG = ("lung_px", "lung_left_px", "lung_right_px", "lung_rle")
_CLASS = ("class_label", "p_covid19", "p_pneumonia", "p_normal")
_INFECTION = ("percent_infected", "infection_px", "infection_rle")
_LOCALISATION = ("localisation_percent", "localisation_map")

SYSTEMS = (
    ShortTraining("qu-ex", 32, 3, (*_LUNG, *_INFECTION), (*_CLASS, *_LOCALISATION)),
    ShortTraining("inflocnet", 32, 6, (*_LUNG, *_INFECTION, *_CLASS), _LOCALISATION),
    ShortTraining("hybrid", 64, 4, (*_LUNG, *_CLASS, *_LOCALISATION), _INFECTION),
    ShortTraining("amalgam", 32, 4, _LUNG, (*_INFECTION, *_CLASS, *_LOCALISATION)),
    ShortTraining("pneumonia-seg", 32, 4, (*_LUNG, *_INFECTION), (*_CLASS, *_LOCALISATION)),
)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    cxr("phantom", "--count", str(PHANTOMS), "--seed", "40", "--out", str(root / "scored"), cwd=root)
    cxr("phantom", "--count", str(EVALUATED), "--masks", "--seed", "90", "--out", str(root / "evaluated"), cwd=root)
    return root


@pytest.mark.parametrize("short", SYSTEMS, ids=str)
def test_system_goes_from_recipe_to_cohort_table(
    short: ShortTraining, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    bundle, work, results = (str(tmp_path / name) for name in ("bundle", "work", "results"))

    shortened = ["--films", str(short.films), "--epochs", str(short.epochs)]
    cxr("train", short.recipe, "--data", str(DATA), "--out", bundle, "--work", work, *shortened, cwd=tmp_path)
    recipe = load_recipe(short.recipe)
    card = load_bundle(bundle).card
    assert [network.name for network in card.networks] == [network.name for network in recipe.networks]
    assert card.departures == recipe.departures
    assert "Training was shortened" in card.bundle.limits
    assert f"at most {short.films} films" in card.bundle.limits
    course = {network.name: _losses(Path(work) / network.name, short.epochs) for network in recipe.networks}

    figures = tmp_path / "figures.json"
    cxr("evaluate", bundle, str(phantoms / "evaluated"), "--json", str(figures), cwd=tmp_path)
    assert json.loads(figures.read_text())

    cxr("score", str(phantoms / "scored" / "films"), "--bundle", bundle, "--out", results, "--quiet", cwd=tmp_path)
    cxr("verify", results, cwd=tmp_path)
    scores = pd.read_parquet(Path(results) / "scores")
    rejects = pd.read_parquet(Path(results) / "rejects")
    assert len(scores) + len(rejects) == PHANTOMS
    cohort = cxrlib.results.cohort.load(results)
    assert len(cohort) == len(scores)
    assert set(rejects["reason"].astype(str)) <= {"no_lung", "implausible_lung"}, "expected no reject but for the lung"
    assert cohort[list(short.filled)].notna().all(axis=None)
    assert cohort[list(short.null)].isna().all(axis=None)

    with capsys.disabled():
        minutes = (time.monotonic() - began) / 60
        print(f"\n{short}: {short.films} films, {short.epochs} epochs, {minutes:.1f} min with scoring")
        for name, losses in course.items():
            print(f"  {name}: loss {' '.join(f'{loss:.4f}' for loss in losses)}")
        print(f"  {len(cohort)} phantoms scored, rejected {rejects['reason'].astype(str).value_counts().to_dict()}")


def _losses(folder: Path, epochs: int) -> list[float]:
    """Return a network's training loss by epoch; check that it decreased and that its curve was drawn."""
    losses = [row["train_loss"] for row in read_csv(folder / HISTORY_FILE)]
    assert len(losses) == epochs
    assert losses[-1] < losses[0], f"expected the loss of {folder.name} to decrease; got {losses}"
    assert (folder / CURVE_FILE).read_bytes().startswith(b"\x89PNG")
    return losses
