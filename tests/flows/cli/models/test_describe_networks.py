"""The description of a bundle's networks in `cxr models show`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from cxr_flows.cli.models.describe_networks import localisation, network_table, scheme
from cxr_flows.cli.models.models import models
from cxrlib.models.bundle import Bundle, load_bundle, write_bundle
from cxrlib.models.inference import openvino_convert
from cxrlib.models.inference.openvino_graph import ConversionError
from tests.support.tiny_bundles import GRADCAM_LAYER, card_network, tiny_system

HYBRID = (
    card_network("one", "lung"),
    card_network("two", "lung", input={"rows": 128, "columns": 128, "std": 0.25}),
    card_network("classifier", "classes", reads="lung_masked_film"),
)
EXPLAINED = {"network": "classifier", "layer": GRADCAM_LAYER}


def printed(bundle: Bundle) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(network_table(bundle))
    return capture.get()


def test_default_bundle_is_one_network_without_localisation() -> None:
    bundle = load_bundle("default")
    assert scheme(bundle.card) == "one network"
    assert localisation(bundle.card) == "none"
    assert "film, 256 x 256, mean 0.5, std 0.5" in printed(bundle)


def test_networks_that_read_the_film_are_parallel() -> None:
    card = tiny_system(card_network("lung", "lung"), card_network("infection", "infection")).card
    assert scheme(card) == "parallel: every network reads the film"


def test_cascade_after_an_ensemble_is_described() -> None:
    bundle = tiny_system(*HYBRID, localisation=EXPLAINED)
    card = bundle.card
    assert (
        scheme(card)
        == "cascade: classifier reads the lungs that one, two segmented; ensemble: lung is the mean of one, two"
    )
    assert (
        localisation(card) == f"Grad-CAM of the predicted class, at layer {GRADCAM_LAYER} of classifier; threshold 0.5"
    )
    table = printed(bundle)
    assert "film, 128 x 128, mean 0.5, std 0.25" in table
    assert "lung-masked film, 64 x 64, mean 0.5, std 0.5" in table


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_command_shows_every_network(tmp_path: Path, arguments: list[str]) -> None:
    bundle = tiny_system(*HYBRID, localisation=EXPLAINED)
    write_bundle(str(tmp_path), bundle.card, bundle.files)
    result = CliRunner().invoke(models, ["show", str(tmp_path), *arguments])
    assert result.exit_code == 0, result.output
    for text in ("classifier", "two", "lung", GRADCAM_LAYER):
        assert text in result.output.replace("\n", "").replace(" ", "")


def test_command_shows_which_engine_runs_each_network_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_system(*HYBRID, localisation=EXPLAINED)
    files = {**bundle.files, **openvino_convert.convert_networks(bundle.card, bundle.files)}
    del files["two.openvino.xml"]
    write_bundle(str(tmp_path), bundle.card, files)

    def engines() -> dict[str, str]:
        shown = CliRunner().invoke(models, ["show", str(tmp_path), "--json"]).output
        return dict(json.loads(shown)["engines_on_cpu"])

    explained = "torch, because its localisation maps need gradients"
    assert engines() == {
        "one": "OpenVINO",
        "two": "OpenVINO, after torch has converted it at each start",
        "classifier": explained,
    }

    def fail(*_: object) -> None:
        raise ConversionError("no such operation")

    monkeypatch.setattr(openvino_convert, "convert", fail)
    assert engines()["two"] == "torch, because OpenVINO cannot run it: no such operation"
    monkeypatch.setitem(sys.modules, "torch", None)
    assert engines()["two"].startswith("unknown: the bundle has no graph of it")


def test_models_show_prints_the_departures_on_the_card(tmp_path: Path) -> None:
    bundle = tiny_system(card_network("lung", "lung"))
    departing = bundle.card.model_copy(update={"departures": ("The lung is the mean.", "The split is ours.")})
    write_bundle(str(tmp_path), departing, bundle.files)
    shown = CliRunner().invoke(models, ["show", str(tmp_path)]).output
    assert "Departures" in shown
    assert "The lung is the mean." in shown
    assert "The split is ours." in shown
    assert "Departures" not in CliRunner().invoke(models, ["show", "default"]).output
