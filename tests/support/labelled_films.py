"""Films and masks of small phantoms, written in the folder layouts of the published data sets."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np

from cxrlib.phantom.film import Phantom, make_phantom

SIDE = 64


@cache
def phantom(seed: int) -> Phantom:
    """Return a small phantom."""
    return make_phantom(seed, rows=SIDE, columns=SIDE)


def write_flat_png(path: Path, value: int = 255, side: int = 8) -> None:
    """Write a PNG of one grey value."""
    write_png(path, np.full((side, side), value, dtype=np.uint8))


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 grey values as an image file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def write_film(path: Path, seed: int) -> None:
    """Write the film of a phantom."""
    write_png(path, np.rint(phantom(seed).pixels * 255).astype(np.uint8))


def write_mask(path: Path, seed: int, part: str = "lung") -> None:
    """Write a mask of a phantom: lung, left, right or infection."""
    write_png(path, np.asarray(getattr(phantom(seed), part), dtype=np.uint8) * 255)


def write_pairs(folder: Path, names: list[str], masks: dict[str, str], images: str = "images") -> None:
    """Write films into ``<folder>/<images>`` and each kind of mask (folder name: part) beside them."""
    for seed, name in enumerate(names):
        write_film(folder / images / name, seed)
        for mask_folder, part in masks.items():
            write_mask(folder / mask_folder / name, seed, part)


def write_covid_qu_ex(root: Path) -> None:
    """Write both parts of COVID-QU-Ex. ``covid_2.png`` is in both; one test film is named by its subject."""
    lungs = {"lung masks": "lung"}
    both = {**lungs, "infection masks": "infection"}
    infection, lung = root / "Infection Segmentation Data", root / "Lung Segmentation Data"
    write_pairs(infection / "Train" / "COVID-19", ["covid_1.png", "covid_21.png", "covid_22.png"], both)
    write_pairs(infection / "Test" / "COVID-19", ["covid_2.png"], both)
    write_pairs(infection / "Val" / "Non-COVID", ["non_COVID (1).png"], both)
    write_pairs(infection / "Test" / "Normal", ["Normal (1).png"], both)
    write_pairs(lung / "Train" / "COVID-19", ["covid_2.png", "covid_3.png"], lungs)
    write_pairs(lung / "Test" / "COVID-19", ["sub-S07_run-1.png"], lungs)
    write_pairs(lung / "Test" / "Normal", ["Normal (40).png"], lungs)
