"""Define the closed vocabularies of the rows. Each value is stored as its string."""

from __future__ import annotations

from enum import StrEnum


class SourceFormat(StrEnum):
    """File format of the source image, detected from the content."""

    DICOM = "dicom"
    PNG = "png"
    JPEG = "jpeg"


class View(StrEnum):
    """Projection of a frontal film (DICOM PS3.3 C.8.11.5 View Position); lateral films are rejected."""

    PA = "PA"
    AP = "AP"
    UNKNOWN = "unknown"


class FilmClass(StrEnum):
    """Class of a film (qu-ex section 2; inflocnet section 3)."""

    COVID19 = "covid19"
    PNEUMONIA = "pneumonia"
    NORMAL = "normal"


class Grade(StrEnum):
    """Severity grade by percent of lung infected; the bundle card defines the cut points."""

    NONE = "none"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"
    CRITICAL = "critical"


class LungsFound(StrEnum):
    """Which lungs the cleaned mask contains; left and right are the patient's own."""

    BOTH = "both"
    LEFT_ONLY = "left_only"
    RIGHT_ONLY = "right_only"


class Windowing(StrEnum):
    """How stored values became grey: the first of these that the film supports."""

    VOI_LUT = "voi_lut"
    WINDOW = "window"
    PERCENTILE = "percentile"


class Disposition(StrEnum):
    """What a run does with a listed reference."""

    SCORE = "score"
    DUPLICATE = "duplicate"
    SETTLED = "settled"
