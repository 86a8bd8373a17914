"""Scored films for tests: masks of two lungs, a full film with every header field, and a minimal film."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import FilmClass, SourceFormat, View, Windowing
from cxr_schemas.card import GradeCuts, Postprocess
from cxrlib.film_steps import ScoringParameters, clean_and_measure
from cxrlib.measuring.masks import clean_masks
from cxrlib.measuring.severity import measure_severity
from cxrlib.types import CxrImage, FilmFacts, ImageRef, Prediction, Provenance, ScoredFilm

SIDE = 64


def ellipse(side: int, row: float, column: float, height: float, width: float) -> NDArray[np.bool_]:
    """Return a filled ellipse on a square grid; centre and half axes are fractions of the side."""
    rows, columns = np.mgrid[:side, :side] + 0.5
    inside: NDArray[np.bool_] = ((rows / side - row) / height) ** 2 + ((columns / side - column) / width) ** 2 <= 1
    return inside


def two_lungs(side: int = SIDE) -> NDArray[np.bool_]:
    """Return masks of two ellipses; the lung at low columns, the patient's right, is the larger."""
    return ellipse(side, 0.5, 0.28, 0.34, 0.16) | ellipse(side, 0.5, 0.72, 0.32, 0.14)


def prediction(
    lung: NDArray[np.bool_], infection: NDArray[np.bool_] | None = None, classes: dict[FilmClass, float] | None = None
) -> Prediction:
    """Return a prediction with probability 0.9 inside the given masks and 0 outside."""
    inside = np.float32(0.9)
    return Prediction(
        lung * inside,
        None if infection is None else infection * inside,
        classes,
        "fp32",
        forward_batch=16,
        engine="openvino",
    )


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
    """Return a scored film with every header field set; equal `content` (the URI by default) gives equal bytes.

    `cells` are the cells of its localisation map; those above 0.5 count.
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
    parameters = ScoringParameters(SIDE, SIDE, Postprocess(), GradeCuts(), None if cells is None else 0.5)
    film = clean_and_measure(ImageRef(uri, version, 1000), image, predicted, parameters)
    assert isinstance(film, ScoredFilm)
    return film


def provenance(
    *, bundle: str = "default", bundle_digest: str = "ab" * 32, config: str = "cd" * 32, run_id: str = "run-1"
) -> Provenance:
    """Return the provenance columns of a row."""
    return Provenance(bundle, "1.0.0", bundle_digest, config, "0.1.0", run_id)


def minimal_scored_film(ref: ImageRef) -> ScoredFilm:
    """Return a film with two lungs, no infection and a header of size alone."""
    predicted = prediction(two_lungs(), np.zeros((SIDE, SIDE), np.bool_), dict.fromkeys(FilmClass, 1 / 3))
    image = CxrImage(
        pixels=np.zeros((SIDE, SIDE), np.float32),
        facts=FilmFacts(source_format=SourceFormat.PNG, rows=80, columns=80),
        content_digest="0" * 64,
        windowing=Windowing.PERCENTILE,
        clipped_fraction=0.0,
    )
    masks = clean_masks(predicted, Postprocess())
    return ScoredFilm(ref, image, predicted, masks, measure_severity(masks, None, GradeCuts()))
