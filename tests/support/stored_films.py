"""A scored film of the least kind, for tests of what is stored."""

from __future__ import annotations

import numpy as np

from cxr_schemas import FilmClass, SourceFormat, Windowing
from cxr_schemas.card import GradeCuts, Postprocess
from cxrlib.measuring.masks import clean
from cxrlib.measuring.severity import measure
from cxrlib.types import CxrImage, FilmFacts, ImageRef, Prediction, ScoredFilm
from tests.support.fakes import SIDE, lungs


def scored_film(ref: ImageRef) -> ScoredFilm:
    """Return a film of two lungs without infection."""
    infection = np.zeros((SIDE, SIDE), np.float32)
    prediction = Prediction(lungs(), infection, dict.fromkeys(FilmClass, 1 / 3), "fp32")
    image = CxrImage(
        pixels=np.zeros((SIDE, SIDE), np.float32),
        facts=FilmFacts(source_format=SourceFormat.PNG, rows=80, columns=80),
        content_digest="0" * 64,
        windowing=Windowing.PERCENTILE,
        clipped_fraction=0.0,
    )
    masks = clean(prediction, Postprocess())
    return ScoredFilm(ref, image, prediction, masks, measure(masks, None, GradeCuts()))
