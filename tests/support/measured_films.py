"""Films that were measured, made up for the tests of rows, cohort and overlay."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass, SourceFormat, View, Windowing
from cxr_schemas.card import GradeCuts, Postprocess
from cxrlib.results.row_tables import Provenance
from cxrlib.scoring import ScoringParameters, assess
from cxrlib.types import CxrImage, FilmFacts, ImageRef, Prediction, ScoredFilm

SIDE = 64


def ellipse(side: int, row: float, column: float, height: float, width: float) -> NDArray[np.bool_]:
    """Return a filled ellipse on a square grid; centre and half axes are shares of the side."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    inside: NDArray[np.bool_] = ((rows / side - row) / height) ** 2 + ((columns / side - column) / width) ** 2 <= 1
    return inside


def two_lungs(side: int = SIDE) -> NDArray[np.bool_]:
    """Return a plain pair of lungs; the one at low columns, the patient's right, is the larger."""
    return ellipse(side, 0.5, 0.28, 0.34, 0.16) | ellipse(side, 0.5, 0.72, 0.32, 0.14)


def prediction(
    lung: NDArray[np.bool_], infection: NDArray[np.bool_] | None = None, classes: dict[FilmClass, float] | None = None
) -> Prediction:
    """Return a sure prediction of the given masks."""
    sure = np.float32(0.9)
    return Prediction(lung * sure, None if infection is None else infection * sure, classes, "fp32")


def scored_film(
    uri: str = "s3://bucket/a.dcm",
    *,
    version: str = "etag:1",
    content: str | None = None,
    infected: bool = True,
    with_infection: bool = True,
    classes: dict[FilmClass, float] | None = None,
    spacing_mm: tuple[float, float] | None = (0.2, 0.1),
    cells: NDArray[np.uint8] | None = None,
) -> ScoredFilm:
    """Return a whole scored film; `content` stands for its bytes (by default, the URI does).

    `cells` are those of its localisation, which counts above 0.5.
    """
    lung = two_lungs()
    infection = ellipse(SIDE, 0.6, 0.28, 0.1, 0.08) & infected
    facts = FilmFacts(
        SourceFormat.DICOM,
        rows=2500,
        columns=2000,
        spacing_mm=spacing_mm,
        transfer_syntax="1.2.840.10008.1.2.4.90",
        modality="DX",
        view=View.PA,
        sop_instance_uid="1.2.3.4",
        series_instance_uid="1.2.3",
        study_instance_uid="1.2",
        patient_key="ab" * 32,
        study_date=dt.date(2021, 3, 17),
    )
    image = CxrImage(
        np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE),
        facts,
        content_digest=hashlib.sha256((content or uri).encode()).hexdigest(),
        windowing=Windowing.WINDOW,
        clipped_fraction=0.01,
    )
    predicted = prediction(lung, infection if with_infection else None, classes)
    predicted = dataclasses.replace(predicted, localisation_cells=cells)
    recipe = ScoringParameters(SIDE, SIDE, Postprocess(), GradeCuts(), None if cells is None else 0.5)
    film = assess(ImageRef(uri, version, 1000), image, predicted, recipe)
    assert isinstance(film, ScoredFilm)
    return film


def provenance(
    *, bundle: str = "default", bundle_digest: str = "ab" * 32, config: str = "cd" * 32, run_id: str = "run-1"
) -> Provenance:
    """Return what stands in every row."""
    return Provenance(bundle, "1.0.0", bundle_digest, config, "0.1.0", run_id)
