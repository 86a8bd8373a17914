"""Write an archive of many small films quickly: a few phantoms, each film with its own noise and header.

Drawing a phantom takes a quarter of a second; adding noise and writing a film takes milliseconds. No two films share
pixels, patient, study or UIDs, so that none is a copy of another.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cxrlib.phantom import make_phantom
from cxrlib.phantom.dicom_style import MIXED_STYLES
from cxrlib.phantom.encode import encode_dicom, study_date

DRAWINGS = 24
_NOISE = 0.01


def write_films(root: Path, count: int, *, seed: int = 0) -> int:
    """Write `count` films of 128 to 256 px in every DICOM style, in folders by study date; return their total bytes."""
    sides = (128, 160, 192, 256)
    drawings = [make_phantom(seed + n, rows=sides[n % 4], columns=sides[n // 4 % 4]) for n in range(DRAWINGS)]
    noise = np.random.default_rng(seed)
    total = 0
    for number in range(count):
        drawing = drawings[number % DRAWINGS]
        grain = noise.standard_normal(drawing.pixels.shape, np.float32) * np.float32(_NOISE)
        film = replace(drawing, pixels=np.clip(drawing.pixels + grain, 0, 1), seed=10**6 * (seed + 1) + number)
        data = encode_dicom(film, MIXED_STYLES[number // DRAWINGS % len(MIXED_STYLES)])
        path = root / f"{study_date(film.seed):%Y/%m/%d}" / f"film-{number:06d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        total += len(data)
    return total
