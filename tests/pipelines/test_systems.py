"""Bundles of several networks, scored from files to Parquet: a hybrid that localises, and one that gives a lung alone.

The lung is found by the networks of the bundle that ships, for random weights would find none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from cxr_flows.demo.run_demo import show_cohort
from cxr_flows.reports.run import summary_lines, summary_markdown
from cxr_pipelines.score import score
from cxr_schemas import Card, RunManifest
from cxrlib.measuring import localisation, rle
from cxrlib.measuring.overlay import LONG_SIDE, Colour
from cxrlib.models.bundle import load_bundle, write_bundle
from cxrlib.phantom.archive import write_archive
from cxrlib.results import cohort
from cxrlib.results.verify import verify
from cxrlib.settings import RunSettings, Settings
from tests.support.results_roots import chunk_objects
from tests.support.tiny_bundles import GRADCAM_LAYER, card_network, tiny_system

pytestmark = pytest.mark.usefixtures("one_thread")

FILMS, BAD = 6, 2


def lung_network(name: str, **rest: Any) -> dict[str, Any]:
    """Return the network of the default bundle with its lung output only."""
    return {**load_bundle("default").card.networks[0].model_dump(), "name": name, "outputs": ("lung",), **rest}


def write(folder: Path, *networks: dict[str, Any], **rest: Any) -> str:
    """Write a bundle of the default network and tiny ones, with the input size of the default bundle."""
    shipped = load_bundle("default")
    # The weights of tiny networks. The first one gives the lung output that a card needs; it is not in this card.
    tiny = [
        network for network in networks if network["architecture"] == "multitask-unet" and "seed" in network["weights"]
    ]
    files = dict(tiny_system(card_network("any", "lung"), *tiny).files)
    classes = ("covid19", "pneumonia", "normal") if tiny else ()
    plain = {**shipped.card.model_dump(), "networks": networks, "classes": classes, "training": (), "metrics": ()}
    plain["input"] = {**plain["input"], "batch": 4}
    plain["bundle"] = {**plain["bundle"], "name": folder.name}
    card = Card.model_validate({**plain, **rest})
    weights = {network.weights: {**shipped.files, **files}[network.weights] for network in card.networks}
    write_bundle(str(folder), card, weights)
    return str(folder)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    write_archive(str(root), FILMS, seed=41, rows=320, bad=BAD, workers=1)
    return root


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lung ensemble with two input sizes, and a classifier of the lung-masked film, with localisation."""
    return write(
        tmp_path_factory.mktemp("bundles") / "hybrid",
        lung_network("lung"),
        lung_network("lung-192", input={"rows": 192, "columns": 192}),
        card_network("classifier", "classes", reads="lung_masked_film", input={"rows": 128, "columns": 128}),
        localisation={"network": "classifier", "layer": GRADCAM_LAYER},
    )


def run(archive: Path, out: Path, bundle: str, **options: Any) -> RunManifest:
    settings = Settings(bundle=bundle, run=RunSettings(device="cpu", **options))
    return score([f"{archive}/films"], str(out), settings, run_id="r")


@pytest.fixture(scope="module")
def localised(archive: Path, hybrid: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunManifest]:
    out = tmp_path_factory.mktemp("results")
    return out, run(archive, out, hybrid, overlays=True)


def text_on(out: Path, manifest: RunManifest, archive: Path) -> str:
    """Return all text on a run: its summary, its page, and the tables of the demo."""
    console = Console(width=200)
    with console.capture() as capture:
        show_cohort(str(out), pd.read_parquet(archive / "truth.parquet"), console)
    return "\n".join([*summary_lines(manifest), summary_markdown(manifest, str(out)), capture.get()])


def test_bundle_without_infection_gives_null_percent_and_grade(
    localised: tuple[Path, RunManifest],
) -> None:
    out, manifest = localised
    assert (manifest.counts.scored, manifest.counts.rejected) == (FILMS, BAD)
    assert verify(str(out)).ok
    films = cohort.load(str(out))
    assert films["lung_px"].gt(0).all()
    assert films["class_label"].notna().all()
    for name in ("percent_infected", "percent_left", "grade", "infected", "infection_px", "infection_rle"):
        assert films[name].isna().all(), name
    assert films["localisation_percent"].between(0, 100).all()


def test_localisation_map_of_a_row_gives_its_percent_of_the_lung(localised: tuple[Path, RunManifest]) -> None:
    for row in cohort.load(str(localised[0])).itertuples():
        heat = localisation.decode(row.localisation_map, row.mask_rows, row.mask_columns)
        lung = rle.decode(row.lung_rle, row.mask_rows, row.mask_columns)
        assert heat.shape == (256, 256)
        assert row.localisation_percent == pytest.approx(100 * np.mean(heat[lung] > 0.5), abs=1e-4)


def test_overlays_show_the_localisation(localised: tuple[Path, RunManifest]) -> None:
    pictures = [cv2.imread(str(path)) for path in (localised[0] / "overlays").rglob("*.png")]
    assert len(pictures) == FILMS
    shown = [bool((picture == Colour.LOCALISED.bgr).all(axis=2).any()) for picture in pictures if picture is not None]
    films = cohort.load(str(localised[0]))
    assert sum(shown) >= films["localisation_percent"].gt(0).sum() > 0
    assert all(max(picture.shape) == LONG_SIDE for picture in pictures if picture is not None)


def test_rows_of_several_networks_do_not_depend_on_the_batches(
    archive: Path, hybrid: str, localised: tuple[Path, RunManifest], tmp_path: Path
) -> None:
    run(archive, tmp_path, hybrid, batch_size=3)
    assert chunk_objects(tmp_path) == chunk_objects(localised[0])


def test_text_on_a_run_without_infection_shows_no_nan(localised: tuple[Path, RunManifest], archive: Path) -> None:
    out, manifest = localised
    text = text_on(out, manifest, archive)
    assert f"{FILMS} scored" in text
    assert "no percent was measured" in text
    assert "nan" not in text


def test_bundle_with_only_lungs_gives_null_classes(archive: Path, tmp_path: Path) -> None:
    manifest = run(archive, tmp_path / "out", write(tmp_path / "lung-only", lung_network("lung")))
    assert (manifest.counts.scored, manifest.counts.rejected) == (FILMS, BAD)
    films = cohort.load(str(tmp_path / "out"))
    for name in ("class_label", "p_covid19", "p_normal", "percent_infected", "localisation_percent"):
        assert films[name].isna().all(), name
    assert films["lung_mm2"].notna().any()
    assert "nan" not in text_on(tmp_path / "out", manifest, archive)
