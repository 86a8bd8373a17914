"""Recipes that train in seconds, and their data set: bright squares as lungs, with one shade per class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cxrlib.training.recipe import Recipe
from tests.support.tiny_bundles import ARGUMENTS

#: Number of films in the data set.
SQUARE_FILMS = 12


def square_films(root: Path, name: str = "squares") -> Path:
    """Write `SQUARE_FILMS` films in the index.csv layout below the data root `root`, and return the root."""
    folder = root / name
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["id,image,mask,infection_mask,class_label,mask_convention,group,split"]
    for number in range(SQUARE_FILMS):
        generator = np.random.default_rng(number)
        film = generator.integers(0, 60, (128, 128)).astype(np.uint8)
        mask = np.zeros((128, 128), dtype=np.uint8)
        mask[24:104, 16 + number : 80 + number] = 255
        film[mask > 0] += np.uint8(60 + 60 * (number % 3))
        cv2.imwrite(str(folder / "images" / f"{number}.png"), film)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
        label = ["covid", "pneumonia", "normal"][number % 3]
        masks = f"masks/{number}.png,masks/{number}.png"
        lines.append(f"s_{number},images/{number}.png,{masks},{label},without heart,g{number},train")
    (folder / "index.csv").write_text("\n".join(lines))
    return root


def recipe_network(name: str = "tiny", **changes: Any) -> dict[str, Any]:
    """Return a recipe's entry for one network with all three outputs; `changes` replaces keys."""
    plan: dict[str, Any] = {
        "name": name,
        "architecture": "multitask-unet",
        "arguments": ARGUMENTS,
        "outputs": ["lung", "infection", "classes"],
        "data": ["squares"],
        "validation": 0.3,
        "batch": 4,
        "epochs": 3,
        "optimiser": {"kind": "adam", "rate": 1e-3},
        "loss": {
            "lung": {"kind": "binary-cross-entropy"},
            "infection": {"kind": "binary-cross-entropy"},
            "classes": {"kind": "categorical-cross-entropy"},
        },
    }
    return {**plan, **changes}


def tiny_recipe(*networks: dict[str, Any], **changes: Any) -> Recipe:
    """Return a recipe of the given networks, or of one `recipe_network`."""
    plain: dict[str, Any] = {
        "seed": 11,
        "bundle": {
            "name": "tiny",
            "version": "0.0.1",
            "description": "Trained in seconds, for tests.",
            "licence": "Apache-2.0",
            "intended_use": "tests",
            "limits": "Says nothing about films.",
        },
        "input": {"rows": 64, "columns": 64, "batch": 4},
        "data": {"squares": {"folder": "squares", "licence": "none needed"}},
        "networks": list(networks) or [recipe_network()],
    }
    return Recipe.model_validate({**plain, **changes})


def two_network_recipe() -> Recipe:
    """Return a recipe of two networks that together use every training option; the second reads the lung only."""
    lung = recipe_network(
        "lung",
        arguments={**ARGUMENTS, "classes": 0, "masks": ["lung"]},
        outputs=["lung"],
        stages=[{"side": 32, "epochs": 1}, {"side": 64, "epochs": 2}],
        optimiser={"kind": "adamw", "rate": 1e-3, "encoder_factor": 0.5},
        schedule={"kind": "one-cycle", "warmup": 0.2},
        loss={"lung": {"kind": "binary-cross-entropy-dice"}},
        clip=1.0,
        average_decay=0.9,
        augmentation={"kind": "film"},
    )
    del lung["epochs"]
    classes = recipe_network(
        "classes",
        arguments={**ARGUMENTS, "masks": ["lung"]},
        outputs=["classes"],
        reads="lung_masked_film",
        epochs=5,
        # At this rate the loss goes up and down, so that schedule, best epoch and early stop act within a few epochs.
        optimiser={"kind": "sgd", "rate": 0.3, "momentum": 0.9},
        schedule={"kind": "plateau", "factor": 0.5, "patience": 1},
        early_stop={"patience": 2},
        best="val_loss",
        loss={"classes": {"kind": "categorical-cross-entropy"}},
        augmentation={"kind": "affine", "rotate_degrees": 20, "shift": 0.1, "fill": "nearest"},
    )
    return tiny_recipe(lung, classes)
