"""Training: losses skip what was not annotated, films follow seed and epoch, a killed training goes on the same."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cxrlib.bundle import load_bundle
from cxrlib.errors import UsageError
from cxrlib.models.multitask import MultitaskUnet, load_grey_encoder
from cxrlib.training.augment import random_affine, random_exposure, random_quality, warp
from cxrlib.training.films import LabelledFilm, TrainingFilms, held_out
from cxrlib.training.losses import class_loss, mask_loss
from cxrlib.training.recipe import Augmentation, Recipe, load_recipe, recipe_names
from cxrlib.training.train import train
from tests.unit.tiny_bundle import ARGUMENTS


def test_a_film_without_annotation_adds_nothing_to_the_mask_loss() -> None:
    logits = torch.randn(3, 8, 8)
    truth = torch.zeros(3, 8, 8)
    truth[:, :4] = 1
    all_three = mask_loss(logits[:2], truth[:2], torch.tensor([True, True]))
    truth[2] = torch.rand(8, 8).round()
    one_left_out = mask_loss(logits, truth, torch.tensor([True, True, False]))
    assert one_left_out == pytest.approx(all_three.item())
    assert mask_loss(logits, truth, torch.zeros(3, dtype=torch.bool)).item() == 0


def test_the_right_mask_costs_less_than_a_wrong_one() -> None:
    truth = torch.zeros(1, 8, 8)
    truth[:, 2:6, 2:6] = 1
    right, wrong = (truth - 0.5) * 20, (0.5 - truth) * 20
    known = torch.tensor([True])
    assert mask_loss(right, truth, known) < 0.01
    assert mask_loss(wrong, truth, known) > 1


def test_a_film_of_unknown_class_adds_nothing_to_the_class_loss() -> None:
    logits = torch.randn(3, 3)
    known = class_loss(logits[:2], torch.tensor([0, 2]), 0.05)
    assert class_loss(logits, torch.tensor([0, 2, -100]), 0.05) == pytest.approx(known.item())
    assert class_loss(logits, torch.tensor([-100] * 3), 0.05).item() == 0


def labelled(seed: int, *, infected: bool = True) -> LabelledFilm:
    film = np.random.default_rng(seed).integers(0, 255, (64, 64), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=np.uint8)
    mask[16:48, 8:56] = 1
    return LabelledFilm(film=film, lung=mask, infection=mask * infected, class_index=0 if infected else 2)


def test_a_film_looks_the_same_in_the_same_epoch_and_other_in_the_next() -> None:
    films = TrainingFilms([labelled(0), labelled(1)], Augmentation(), seed=3)
    first = films[1]
    again = films[1]
    films.epoch = 1
    later = films[1]
    assert torch.equal(first["film"], again["film"])
    assert not torch.equal(first["film"], later["film"])


def test_augmentation_moves_masks_with_the_film_and_keeps_its_range() -> None:
    limits = Augmentation()
    film = np.zeros((64, 64), dtype=np.float32)
    film[20:40, 20:40] = 1
    for seed in range(20):
        generator = np.random.default_rng(seed)
        moved = warp(film, random_affine(generator, limits, 64, 64))
        changed = random_quality(generator, limits, random_exposure(generator, limits, moved))
        assert changed.dtype == np.float32
        assert 0 <= changed.min() <= changed.max() <= 1
        assert 0.5 * film.sum() < moved.sum() < 2 * film.sum()


def test_no_augmentation_leaves_the_film_as_it_is() -> None:
    one = labelled(0)
    drawn = TrainingFilms([one], None, seed=0)[0]
    assert torch.equal((drawn["film"][0] * 255).round().to(torch.uint8), torch.from_numpy(one.film))


def test_groups_are_held_out_by_name_alone_and_in_the_share_asked() -> None:
    groups = [f"patient-{number}" for number in range(4000)]
    share = np.mean([held_out(group, 0.05) for group in groups])
    assert 0.04 < share < 0.06
    assert not any(held_out(group, 0.0) for group in groups)


def test_a_grey_film_meets_the_sum_of_the_colour_filters() -> None:
    torch.manual_seed(0)
    import segmentation_models_pytorch as smp

    colour = smp.encoders.get_encoder(ARGUMENTS["encoder"], weights=None).eval()
    network = MultitaskUnet(**ARGUMENTS).eval()  # type: ignore[arg-type]
    load_grey_encoder(network, colour.state_dict())
    grey = torch.rand(1, 1, 64, 64)
    deepest = network.unet.encoder(grey)[-1]
    assert torch.allclose(deepest, colour(grey.expand(1, 3, 64, 64))[-1], atol=1e-4)


def test_every_recipe_that_ships_is_valid() -> None:
    assert "default" in recipe_names()
    for name in recipe_names():
        assert load_recipe(name).epochs >= 1


def test_an_unknown_recipe_lists_what_ships() -> None:
    with pytest.raises(UsageError, match="default"):
        load_recipe("no-such-recipe")


def test_stages_give_each_epoch_its_side() -> None:
    recipe = load_recipe("default")
    sides = [recipe.side(epoch) for epoch in range(recipe.epochs)]
    assert sides == [stage.side for stage in recipe.stages for _ in range(stage.epochs)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data set of twelve films in the index.csv layout: a bright square is the lung, its class its shade."""
    root = tmp_path / "data" / "squares"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    lines = ["id,image,mask,infection_mask,class_label,mask_convention,group,split"]
    for number in range(12):
        generator = np.random.default_rng(number)
        film = generator.integers(0, 60, (128, 128)).astype(np.uint8)
        mask = np.zeros((128, 128), dtype=np.uint8)
        mask[24:104, 16 + number : 80 + number] = 255
        film[mask > 0] += np.uint8(60 + 60 * (number % 3))
        cv2.imwrite(str(root / "images" / f"{number}.png"), film)
        cv2.imwrite(str(root / "masks" / f"{number}.png"), mask)
        label = ["covid", "pneumonia", "normal"][number % 3]
        masks = f"masks/{number}.png,masks/{number}.png"
        lines.append(f"s_{number},images/{number}.png,{masks},{label},without heart,g{number},train")
    (root / "index.csv").write_text("\n".join(lines))
    return tmp_path / "data"


def tiny_recipe(epochs: int) -> Recipe:
    plain = load_recipe("default").model_dump()
    plain.update(
        batch=4,
        validation=0.2,
        input={"rows": 64, "columns": 64, "batch": 4},
        network={"architecture": "multitask-unet", "arguments": ARGUMENTS, "pretrained": None},
        data=[{"folder": "squares", "licence": "none needed"}],
        phantoms={"count": 0},
        stages=[{"side": 32, "epochs": 1}, {"side": 64, "epochs": epochs - 1}],
    )
    return Recipe.model_validate(plain)


class _Killed(Exception):
    pass


def test_a_killed_training_goes_on_and_ends_in_the_same_weights(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tiny_recipe(3), data, tmp_path / "whole", str(tmp_path / "whole-bundle"))
    from cxrlib.training.module import MultitaskModule

    step = MultitaskModule.training_step

    def killed(self: MultitaskModule, batch: object, index: int) -> torch.Tensor:
        if self.current_epoch == 2:
            raise _Killed
        return step(self, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(MultitaskModule, "training_step", killed)
    with pytest.raises(_Killed):
        train(tiny_recipe(3), data, tmp_path / "work", str(tmp_path / "bundle"))
    monkeypatch.undo()
    resumed = train(tiny_recipe(3), data, tmp_path / "work", str(tmp_path / "bundle"))
    assert resumed.digest == whole.digest
    assert load_bundle(str(tmp_path / "bundle")).digest == whole.digest
    assert whole.card.training[0].films == 12
    starts = sorted((tmp_path / "work").glob("history/*/metrics.csv"))
    assert len(starts) == 2, "the history of the start that was killed is kept"
