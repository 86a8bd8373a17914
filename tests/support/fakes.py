"""A fake engine without a network, its bundle and settings, and films small enough for a property test."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Card, FilmClass, Reason
from cxrlib.errors import FilmError
from cxrlib.models.bundle import Bundle
from cxrlib.settings import ReadSettings, RunSettings, Settings
from cxrlib.types import CxrImage, Prediction

SIDE = 64


def fake_bundle(seed: int = 0) -> Bundle:
    """Return a bundle with a complete card and no weights; another seed gives another digest."""
    card = Card.model_validate(
        {
            "bundle": {
                "name": "fake",
                "version": "0.0.1",
                "description": "No network at all, for tests.",
                "licence": "Apache-2.0",
                "intended_use": "tests",
                "limits": "says nothing about films",
            },
            "input": {"rows": SIDE, "columns": SIDE, "batch": 4},
            "networks": [
                {
                    "name": "fake",
                    "architecture": "none",
                    "weights": "fake.safetensors",
                    "outputs": ["lung", "infection", "classes"],
                }
            ],
            "classes": ["covid19", "pneumonia", "normal"],
        }
    )
    return Bundle(card=card, digest=f"{seed:064x}", files={})


@cache
def lung_probability() -> NDArray[np.float32]:
    """Return the lung probability of the fake predictions: 0.9 in two ellipses, 0.1 elsewhere."""
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for x in (18, 46):
        cv2.ellipse(canvas, (x, 34), (9, 20), 0, 0, 360, 1, thickness=-1)
    return np.where(canvas > 0, np.float32(0.9), np.float32(0.1))


class FakeEngine:
    """Takes bright lung for infected. The grey of a film's first pixel selects a model failure or a film without lung.

    It appends a line with process id and content digest to `log` for each film.
    """

    def __init__(self, log: Path | None = None, seconds_per_film: float = 0.0) -> None:
        self.log = log
        self.seconds_per_film = seconds_per_film

    def predict(self, images: Sequence[CxrImage]) -> list[Prediction | FilmError]:
        """Return one outcome per image, in order."""
        for image in images:
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{os.getpid()} {image.content_digest}\n")
            time.sleep(self.seconds_per_film)
        return [self._predict(image) for image in images]

    def _predict(self, image: CxrImage) -> Prediction | FilmError:
        corner = float(image.pixels[0, 0])
        if corner > 0.9:
            return FilmError(Reason.MODEL_FAILED, expected="finite numbers", got="a film that makes the model fail")
        infection = np.where(image.pixels > 0.6, np.float32(0.9), np.float32(0.05))
        lung = lung_probability() if corner < 0.5 else np.full_like(lung_probability(), 0.1)
        third = 1.0 / 3.0
        classes = {FilmClass.COVID19: third, FilmClass.PNEUMONIA: third, FilmClass.NORMAL: third}
        return Prediction(
            lung=lung, infection=infection, classes=classes, precision="fp32", forward_batch=4, engine="fake"
        )


@dataclass(frozen=True)
class FakeEngineFactory:
    """Makes a `FakeEngine`, in a worker process too."""

    log: Path | None = None
    seconds_per_film: float = 0.0

    def __call__(self) -> FakeEngine:
        """Make the engine."""
        return FakeEngine(self.log, self.seconds_per_film)


def fake_settings(*, chunk_size: int = 4, batch_size: int = 3, decode_workers: int = 0, **run: Any) -> Settings:
    """Return settings that accept the tiny films and read them in the test's own process, where they can be patched."""
    return Settings(
        read=ReadSettings(min_side=32, fix_polarity=False),
        run=RunSettings(
            chunk_size=chunk_size, batch_size=batch_size, fetch_attempts=1, decode_workers=decode_workers, **run
        ),
    )


def film_png(seed: int, *, corner: int = 20) -> bytes:
    """Return an 8-bit PNG of 80x80 pixels: grey noise and an infected disc whose size depends on `seed`."""
    random = np.random.default_rng(seed)
    film = random.integers(60, 110, (80, 80)).astype(np.uint8)
    cv2.circle(film, (22, 42), 2 + seed % 9, 220, thickness=-1)
    film[:8, :8] = corner
    film[:8, -8:] = 255
    film[-8:, -8:] = 0
    done, data = cv2.imencode(".png", film)
    if not done:
        raise RuntimeError("the test film could not be encoded")
    return bytes(data.tobytes())


def model_failed_png(seed: int) -> bytes:
    """Return a film on which the fake engine fails."""
    return film_png(seed, corner=250)


def no_lung_png(seed: int) -> bytes:
    """Return a film in which the fake engine finds no lung."""
    return film_png(seed, corner=170)
