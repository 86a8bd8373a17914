"""Training: networks in turn into one bundle; a killed or halted training goes on and ends the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from cxrlib.errors import UsageError
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
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Path]:
    """The cascade, trained in one go: its bundle and its work folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(two_network_recipe(), data, folder / "work", str(folder / "bundle")), folder / "work"


def histories(work: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(work.glob("*/history.csv"))}


class _Killed(BaseException):
    """Stands for SIGKILL: nothing in the training catches it."""


def in_a_step(network: str, epoch: int) -> Callable[[pytest.MonkeyPatch], None]:
    def arrange(monkeypatch: pytest.MonkeyPatch) -> None:
        step = NetworkModule.training_step

        def killed(self: NetworkModule, batch: object, index: int) -> torch.Tensor:
            if (self.plan.name, self.current_epoch) == (network, epoch):
                raise _Killed
            return step(self, batch, index)  # type: ignore[arg-type]

        monkeypatch.setattr(NetworkModule, "training_step", killed)

    return arrange


def before_the_checkpoint(network: str, epoch: int) -> Callable[[pytest.MonkeyPatch], None]:
    """After history and best weights of an epoch were written, before its checkpoint was."""

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
        pytest.param(in_a_step("lung", 2), id="first network"),
        pytest.param(in_a_step("classes", 1), id="second network"),
        pytest.param(before_the_checkpoint("classes", 1), id="between best weights and checkpoint"),
    ],
)
def test_a_killed_training_goes_on_and_ends_in_the_same_bytes_and_history(
    kill: Callable[[pytest.MonkeyPatch], None],
    data: Path,
    undisturbed: tuple[Bundle, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, whole_work = undisturbed
    kill(monkeypatch)
    with pytest.raises(_Killed):
        train(two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"))
    monkeypatch.undo()
    # Another machine has it elsewhere.
    (tmp_path / "work").rename(tmp_path / "moved")
    resumed = train(two_network_recipe(), data, tmp_path / "moved", str(tmp_path / "bundle"))
    assert dict(resumed.files) == dict(whole.files)
    assert resumed.digest == whole.digest == load_bundle(str(tmp_path / "bundle")).digest
    assert histories(tmp_path / "moved") == histories(whole_work)


def test_the_cascade_tests_what_it_should(undisturbed: tuple[Bundle, Path]) -> None:
    rows = read_csv(undisturbed[1] / "classes" / "history.csv")
    losses = [row["val_loss"] for row in rows]
    assert len({row["rate"] for row in rows}) > 1, "the rate fell"
    assert losses.index(min(losses)) < len(rows) - 1, "the best epoch is not the last"


def test_a_finished_training_is_exported_again_and_not_trained_again(
    data: Path, undisturbed: tuple[Bundle, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, work = undisturbed
    monkeypatch.setattr(Trainer, "fit", None)
    said: list[str] = []
    again = train(two_network_recipe(), data, work, str(tmp_path / "bundle"), report=said.append)
    assert again.digest == whole.digest
    assert len(said) == 2
    assert all("nothing to do" in line for line in said)


def test_out_of_time_the_bundle_says_so_and_a_later_start_ends_as_one_without_limit(
    data: Path, undisturbed: tuple[Bundle, Path], tmp_path: Path
) -> None:
    whole, _ = undisturbed
    short = train(two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), minutes=1e-6)
    assert "Training was shortened: lung 1 of 3 epochs (out of time), classes 1 of 5" in short.card.bundle.limits
    later = train(two_network_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"))
    assert later.digest == whole.digest


def test_the_card_names_networks_data_and_what_was_left_out(data: Path, tmp_path: Path) -> None:
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
    assert 5 < source.films < SQUARE_FILMS, "training films and those held out"
    assert card.bundle.limits == (
        "Says nothing about films. Training was shortened: first 1 of 3 epochs. Each network was trained on at most 5 "
        "films. Network first was trained on squares in place of absent. The encoder of first started from random "
        "weights in place of ImageNet's."
    )
    assert (tmp_path / "work" / "first" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_a_whole_training_adds_nothing_to_the_cards_limits(undisturbed: tuple[Bundle, Path]) -> None:
    assert undisturbed[0].card.bundle.limits == "Says nothing about films."


def test_networks_of_a_cascade_keep_their_own_reading(undisturbed: tuple[Bundle, Path]) -> None:
    lung, classes = undisturbed[0].card.networks
    assert (lung.outputs, lung.reads, lung.weights) == (("lung",), "film", "lung.safetensors")
    assert (classes.outputs, classes.reads, classes.weights) == (
        ("classes",),
        "lung_masked_film",
        "classes.safetensors",
    )


def test_another_training_in_the_work_folder_is_refused(
    data: Path, undisturbed: tuple[Bundle, Path], tmp_path: Path
) -> None:
    other = Recipe.model_validate({**two_network_recipe().model_dump(), "seed": 12})
    with pytest.raises(UsageError, match="holds a training that differs in seed"):
        train(other, data, undisturbed[1], str(tmp_path / "bundle"))
    with pytest.raises(UsageError, match="differs in films"):
        train(two_network_recipe(), data, undisturbed[1], str(tmp_path / "bundle"), films=4)


def test_more_epochs_prolong_a_training_whose_rate_does_not_depend_on_them(data: Path, tmp_path: Path) -> None:
    whole = train(tiny_recipe(), data, tmp_path / "whole", str(tmp_path / "bundle"))
    train(tiny_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), epochs=1)
    prolonged = train(tiny_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"))
    assert prolonged.digest == whole.digest


def test_watching_held_out_films_needs_some(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(recipe_network(validation=0.0, best="val_loss"))
    with pytest.raises(UsageError, match="expected held-out films"):
        train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"))


def test_a_loss_that_is_no_number_ends_the_training(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(recipe_network(optimiser={"kind": "sgd", "rate": 1e30}))
    with pytest.raises(UsageError, match="network tiny: expected a finite loss"):
        train(recipe, data, tmp_path / "work", str(tmp_path / "bundle"))


def test_weights_for_an_unknown_network_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="networks among tiny; got lungs"):
        train(tiny_recipe(), data, tmp_path / "work", str(tmp_path / "bundle"), pretrained={"lungs": "x"})


def test_an_encoder_starts_from_the_weights_it_is_given(data: Path, tmp_path: Path) -> None:
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
