"""Recipes: the included ones match their papers, invalid keys are named, and reading them does not import torch."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import load_catalog, load_departures
from cxrlib.training.hyperparameters import Adam, AffineAugmentation, EarlyStop, Fill, Monitor, Plateau
from cxrlib.training.recipe import NetworkPlan, Recipe, load_recipe, recipe_names
from tests.support.tiny_recipes import recipe_network, tiny_recipe


def plan(recipe: str, network: str) -> NetworkPlan:
    (found,) = (each for each in load_recipe(recipe).networks if each.name == network)
    return found


def test_each_paper_and_the_default_bundle_have_a_recipe() -> None:
    assert {"default", "qu-ex", "inflocnet", "hybrid", "amalgam", "pneumonia-seg"} <= set(recipe_names())


@pytest.mark.parametrize("name", recipe_names())
def test_every_included_recipe_is_valid_and_has_a_lung_output(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.bundle.name == name
    assert any("lung" in network.outputs for network in recipe.networks)
    for network in recipe.networks:
        assert set(network.outputs) <= set(load_catalog()[network.architecture].outputs)


def test_recipe_of_an_architecture_variant_trains_this_architecture() -> None:
    for entry in load_catalog().values():
        for variant in entry.variants:
            if variant.recipe is not None:
                networks = load_recipe(variant.recipe).networks
                assert entry.name in {network.architecture for network in networks}


def test_qu_ex_recipes_follow_section_3_4() -> None:
    for recipe in ("qu-ex", "qu-ex-cascaded", "qu-ex-resnet18"):
        for network in load_recipe(recipe).networks:
            assert network.optimiser == Adam(kind="adam", rate=1e-4, betas=(0.9, 0.999))
            assert network.schedule == Plateau(kind="plateau", factor=0.2, patience=3)
            assert network.early_stop == EarlyStop(patience=8)
            assert (network.batch, network.epochs, network.validation) == (4, 40, 0.2)
    assert plan("qu-ex-cascaded", "infection").reads == "lung_masked_film"


def test_hybrid_recipe_follows_its_paper() -> None:
    for name in ("lung-unet", "lung-linknet", "lung-fpn"):
        lung = plan("hybrid", name)
        assert lung.schedule == Plateau(kind="plateau", factor=0.5, patience=4, floor=1e-6)
        assert (lung.batch, lung.epochs, lung.early_stop, lung.best) == (32, 50, EarlyStop(patience=25), Monitor.LOSS)
    classifier = plan("hybrid", "classifier")
    assert classifier.optimiser == Adam(kind="adam", rate=1e-3)
    assert classifier.schedule == Plateau(kind="plateau", factor=0.2, patience=7, floor=1e-7)
    assert (classifier.early_stop, classifier.best) == (EarlyStop(patience=15), Monitor.ACCURACY)
    assert classifier.augmentation == AffineAugmentation(
        kind="affine", rotate_degrees=20, shift=0.2, shear=0.2, zoom=0.2, fill=Fill.NEAREST
    )


def test_inflocnet_recipe_follows_its_paper() -> None:
    recipe = load_recipe("inflocnet")
    assert (recipe.input.rows, recipe.input.columns) == (128, 128)
    assert recipe.postprocess.lung_threshold == recipe.postprocess.infection_threshold == 0.6
    assert {(each.batch, each.optimiser.rate, each.epochs) for each in recipe.networks} == {(32, 1e-3, 50)}


@pytest.mark.parametrize("name", [name for name in recipe_names() if name != "default"])
def test_recipe_file_and_recipe_state_the_departures_from_the_paper(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.paper in {load_catalog()[network.architecture].paper for network in recipe.networks}
    assert recipe.departures == load_departures().get(recipe.paper or "", ())
    text = files("cxrlib.training").joinpath("recipes", f"{name}.toml").read_text("utf-8")
    comments = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert all(departure in comments for departure in recipe.departures)


def test_recipe_of_an_unknown_paper_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"expected a paper of the catalog \(amalgam, .*got other"):
        tiny_recipe(paper="other")


def test_error_for_an_unknown_recipe_lists_the_included_ones() -> None:
    with pytest.raises(UsageError, match="default"):
        load_recipe("no-such-recipe")


def write_recipe(tmp_path: Path, **changes: Any) -> str:
    import tomli_w

    path = tmp_path / "mine.toml"
    plain = tiny_recipe().model_dump(mode="json", exclude_none=True)
    path.write_text(tomli_w.dumps({**plain, **changes}))
    return str(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sead": 1}, "sead is not a known key"),
        (
            {"networks": [recipe_network(optimiser={"kind": "adam", "rat": 1})]},
            r"adam\.rat is not a known key",
        ),
        ({"networks": [recipe_network(optimiser={"kind": "adam"})]}, r"optimiser\.adam\.rate is missing"),
        ({"networks": [recipe_network(loss={})]}, "expected a loss for each of its outputs"),
        ({"networks": [recipe_network(data=["circles"])]}, "expected data sets among squares; got circles"),
        ({"networks": [recipe_network(stages=[{"side": 64, "epochs": 1}])]}, "either epochs or stages"),
        ({"networks": [recipe_network(), recipe_network()]}, "expected unique names of networks; got tiny, tiny"),
        ({"networks": [recipe_network(batch=0)]}, r"batch: .*, got 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_invalid_key_is_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_recipe(write_recipe(tmp_path, **changes))


def test_monitor_that_the_network_does_not_measure_is_refused(tmp_path: Path) -> None:
    loss = {"lung": {"kind": "dice"}}
    network = recipe_network(outputs=["lung"], loss=loss, early_stop={"patience": 2, "monitor": "val_accuracy"})
    with pytest.raises(UsageError, match="expected monitors that its outputs measure; got val_accuracy"):
        load_recipe(write_recipe(tmp_path, networks=[network]))


def test_common_keys_apply_to_networks_that_do_not_override_them() -> None:
    plain = tiny_recipe(recipe_network("one"), recipe_network("two", batch=2)).model_dump(
        mode="json", exclude_none=True
    )
    for network in plain["networks"]:
        del network["optimiser"]
    plain["networks"][1]["optimiser"] = {"kind": "sgd", "rate": 0.5}
    plain["common"] = {"optimiser": {"kind": "adam", "rate": 0.25}}
    one, two = Recipe.model_validate(plain).networks
    assert (one.optimiser.kind, one.optimiser.rate) == ("adam", 0.25)
    assert (two.optimiser.kind, two.optimiser.rate) == ("sgd", 0.5)


def test_stages_set_the_side_of_each_epoch_and_shortening_keeps_the_last() -> None:
    default = plan("default", "default")
    assert [default.side(epoch) for epoch in range(default.all_epochs)] == [192] * 7 + [256] * 5
    assert [default.shortened(6).side(epoch) for epoch in range(6)] == [192] + [256] * 5
    assert default.shortened(99) == default
    assert tiny_recipe().networks[0].shortened(2).all_epochs == 2


def test_reading_recipes_does_not_import_torch() -> None:
    code = "import sys; from cxrlib.training import recipe; recipe.load_recipe('hybrid'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
