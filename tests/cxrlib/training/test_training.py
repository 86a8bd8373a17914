"""Training: networks are trained in turn into one bundle, and an interrupted training resumes to the same result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch
from lightning.pytorch import Trainer
from safetensors.torch import save_file

from cxrlib.errors import UsageError
from cxrlib.models.architectures.catalog import load_departures
from cxrlib.models.bundle import Bundle, load_bundle
from cxrlib.training.callback import LAST_FILE
from cxrlib.training.history import read_csv
from cxrlib.training.lightning_module import NetworkModule
from cxrlib.training.recipe import Recipe
from cxrlib.training.train import train
from tests.support.tiny_bundles import ARGUMENTS
from tests.support.tiny_recipes import SQUARE_FILMS, recipe_network, square_films, tiny_recipe, two_network_recipe

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return square_films(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """The cascade, trained without interruption: its bundle and its work folder."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    return train(two_network_recipe(), data, folder / "work", str(folder / "bundle")), folder / "work"


def histories(work: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(work.glob("*/history.csv"))}


class _Killed(BaseException):
    """Simulates SIGKILL: nothing in the training catches it."""


def during_a_step(network: str, epoch: int) -> Callable[[pytest.MonkeyPatch], None]:
    def arrange(monkeypatch: pytest.MonkeyPatch) -> None:
        step = NetworkModule.training_step

        def killed(self: NetworkModule, batch: object, index: int) -> torch.Tensor:
            if (self.plan.name, self.current_epoch) == (network, epoch):
                raise _Killed
            return step(self, batch, index)  # type: ignore[arg-type]

        monkeypatch.setattr(NetworkModule, "training_step", killed)

    return arrange


def before_the_checkpoint(network: str, epoch: int) -> Callable[[pytest.MonkeyPatch], None]:
    """After the history and best weights of an epoch were written, but before its checkpoint."""

    def arrange(monkeypatch: pytest.MonkeyPatch) -> None:
        save = Trainer.save_checkpoint

        def killed(self: Trainer, path: Path, weights_only: bool | None = None) -> None:
            if path.name == LAST_FILE and (path.parent.name, self.current_epoch) == (network, epoch):
                raise _Killed
            save(self, path, weights_only)

        monkeypatch.setattr(Trainer, "save_checkpoint", killed)

    return arrange


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(during_a_step("lung", 2), id="first network"),
        pytest.param(during_a_step("classes", 1), id="second network"),
        pytest.param(before_the_checkpoint("classes", 1), id="between best weights and checkpoint"),
    ],
)
def test_killed_training_resumes_to_the_same_bundle_and_history(
    kill: Callable[[pytest.MonkeyPatch], None],
    data: Path,
    uninterrupted: tuple[Bundle, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, whole_work = uninterrupted
    kill(monkeypatch)
    with pytest.raises(_Killed):
        train(two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"))
    monkeypatch.undo()
    # The training is resumed in another folder, as on another machine.
    (tmp_path / "work").rename(tmp_path / "moved")
    resumed = train(two_network_recipe(), data, tmp_path / "moved", str(tmp_path / "bundle"))
    assert dict(resumed.files) == dict(whole.files)
    assert resumed.digest == whole.digest == load_bundle(str(tmp_path / "bundle")).digest
    assert histories(tmp_path / "moved") == histories(whole_work)


def test_cascade_reduces_its_rate_and_ends_after_its_best_epoch(uninterrupted: tuple[Bundle, Path]) -> None:
    rows = read_csv(uninterrupted[1] / "classes" / "history.csv")
    losses = [row["val_loss"] for row in rows]
    assert len({row["rate"] for row in rows}) > 1, "the rate fell"
    assert losses.index(min(losses)) < len(rows) - 1, "the best epoch is not the last"


def test_finished_training_is_exported_again_without_training(
    data: Path, uninterrupted: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, work = uninterrupted
    monkeypatch.setattr(Trainer, "fit", None)
    lines: list[str] = []
    again = train(two_network_recipe(), data, work, str(tmp_path / "bundle"), report=lines.append)
    assert again.digest == whole.digest
    assert len(lines) == 2
    assert all("nothing to do" in line for line in lines)


def test_card_states_the_time_limit_and_a_later_call_completes_the_training(
    data: Path, uninterrupted: tuple[Bundle, Path], tmp_path: Path
) -> None:
    whole, _ = uninterrupted
    short = train(two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), minutes=1e-6)
    assert "Training was shortened: lung 1 of 3 epochs (out of time), classes 1 of 5" in short.card.bundle.limits
    later = train(two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"))
    assert later.digest == whole.digest


def test_card_states_networks_data_and_departures_from_the_recipe(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        recipe_network("first", data=["absent"], instead=["squares"], pretrained="imagenet"),
        data={
            "absent": {"folder": "absent", "licence": "none"},
            "squares": {"folder": "squares", "licence": "none needed", "note": "drawn"},
        },
        postprocess={"lung_threshold": 0.6},
    )
    bundle = train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"), epochs=1, films=5)
    card = bundle.card
    assert [network.name for network in card.networks] == ["first"]
    assert card.postprocess.lung_threshold == 0.6
    (source,) = card.training
    assert (source.dataset, source.licence, source.note) == ("squares", "none needed", "drawn")
    assert 5 < source.films < SQUARE_FILMS, "training films and held-out films"
    assert card.bundle.limits == (
        "Says nothing about films. Training was shortened: first 1 of 3 epochs. Each network was trained on at most 5 "
        "films. Network first was trained on squares in place of absent. The encoder of first started from random "
        "weights in place of ImageNet's."
    )
    assert (tmp_path / "work" / "first" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_complete_training_adds_nothing_to_the_limits_on_the_card(uninterrupted: tuple[Bundle, Path]) -> None:
    assert uninterrupted[0].card.bundle.limits == "Says nothing about films."


def test_networks_of_a_cascade_keep_their_inputs_and_outputs(uninterrupted: tuple[Bundle, Path]) -> None:
    lung, classes = uninterrupted[0].card.networks
    assert (lung.outputs, lung.reads, lung.weights) == (("lung",), "film", "lung.safetensors")
    assert (classes.outputs, classes.reads, classes.weights) == (
        ("classes",),
        "lung_masked_film",
        "classes.safetensors",
    )


def test_work_folder_of_a_different_training_is_refused(
    data: Path, uninterrupted: tuple[Bundle, Path], tmp_path: Path
) -> None:
    other = Recipe.model_validate({**two_network_recipe().model_dump(), "seed": 12})
    with pytest.raises(UsageError, match="got a difference in seed"):
        train(other, data, uninterrupted[1], str(tmp_path / "bundle"))
    with pytest.raises(UsageError, match="got a difference in films"):
        train(two_network_recipe(), data, uninterrupted[1], str(tmp_path / "bundle"), films=4)


def test_training_resumes_with_more_epochs_if_its_rate_does_not_depend_on_them(data: Path, tmp_path: Path) -> None:
    whole = train(tiny_recipe(), data, tmp_path / "whole", str(tmp_path / "bundle"))
    train(tiny_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), epochs=1)
    extended = train(tiny_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"))
    assert extended.digest == whole.digest


def test_monitoring_without_held_out_films_is_refused(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(recipe_network(validation=0.0, best="val_loss"))
    with pytest.raises(UsageError, match="expected held-out films"):
        train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"))


def test_loss_that_is_not_finite_ends_the_training(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(recipe_network(optimiser={"kind": "sgd", "rate": 1e30}))
    with pytest.raises(UsageError, match="network tiny: expected a finite loss"):
        train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"))


def test_encoder_starts_from_a_file(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    save_file(smp.encoders.get_encoder(ARGUMENTS["encoder"], weights=None).state_dict(), file)
    recipe = tiny_recipe(recipe_network(pretrained="imagenet"))
    lines: list[str] = []
    given = {"tiny": str(file)}
    bundle = train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"), pretrained=given, report=lines.append)
    assert f"encoder from {file}" in lines[0]
    assert "random weights" not in bundle.card.bundle.limits
    with pytest.raises(UsageError, match="got a difference in started_from"):
        train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"))


def test_wrong_encoder_weights_of_a_later_network_are_refused_before_any_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "fit", None)
    file = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(3)}, file)
    with pytest.raises(UsageError, match=r"other\.safetensors': expected weights of the encoder TimmUniversalEncoder"):
        train(
            two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), pretrained={"classes": str(file)}
        )


def test_card_states_the_departures_of_the_recipe_from_its_paper(data: Path, tmp_path: Path) -> None:
    bundle = train(tiny_recipe(paper="hybrid"), data, tmp_path / "work", str(tmp_path / "bundle"), epochs=1)
    assert len(bundle.card.departures) == 2
    assert bundle.card.departures == load_departures()["hybrid"]
    assert load_bundle(str(tmp_path / "bundle")).card == bundle.card


def test_pretrained_weights_for_an_unknown_network_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="networks among tiny; got lungs"):
        train(tiny_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), pretrained={"lungs": "x"})


def test_encoder_starts_from_the_given_weights(data: Path, tmp_path: Path) -> None:
    import safetensors.torch

    from cxrlib.models.architectures.catalog import find_architecture

    torch.manual_seed(5)
    donor = find_architecture("multitask-unet").build(ARGUMENTS)
    state = {name.removeprefix("unet.encoder."): tensor for name, tensor in donor.state_dict().items()}
    encoder = {name: tensor for name, tensor in state.items() if not name.startswith("unet.")}
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(safetensors.torch.save(encoder))
    frozen = tiny_recipe(recipe_network(pretrained="imagenet", optimiser={"kind": "sgd", "rate": 1e-12}, epochs=1))
    bundle = train(frozen, data, tmp_path / "work", str(tmp_path / "bundle"), pretrained={"tiny": str(file)})
    weights = safetensors.torch.load(bundle.files["weights.safetensors"])
    stem = next(name for name, tensor in encoder.items() if tensor.ndim == 4)
    assert torch.allclose(weights[f"unet.encoder.{stem}"].float(), encoder[stem], atol=1e-3)
    assert "random weights" not in bundle.card.bundle.limits
