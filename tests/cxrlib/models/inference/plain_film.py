"""Small films for the engines, and the comparison of their predictions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import SourceFormat, Windowing
from cxrlib.errors import FilmError
from cxrlib.types import CxrImage, FilmFacts, Prediction


def film(seed: int) -> CxrImage:
    pixels = np.random.default_rng(seed).random((64, 64), dtype=np.float32)
    return film_of(pixels)


def film_of(pixels: NDArray[np.float32]) -> CxrImage:
    facts = FilmFacts(source_format=SourceFormat.PNG, rows=64, columns=64)
    return CxrImage(pixels, facts, "0" * 64, Windowing.PERCENTILE, 0.0)


def same(a: Prediction | FilmError, b: Prediction | FilmError) -> bool:
    assert isinstance(a, Prediction)
    assert isinstance(b, Prediction)
    assert a.infection is not None
    assert b.infection is not None
    masks = np.array_equal(a.lung, b.lung) and np.array_equal(a.infection, b.infection)
    if a.localisation_cells is None or b.localisation_cells is None:
        assert a.localisation_cells is b.localisation_cells
    else:
        masks = masks and np.array_equal(a.localisation_cells, b.localisation_cells)
    return masks and a.classes == b.classes
