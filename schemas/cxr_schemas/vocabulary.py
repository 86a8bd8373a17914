"""Closed vocabularies of the rows. Each value is stored as its string."""

from __future__ import annotations

from enum import StrEnum


class SourceFormat(StrEnum):
    """Container of the source image, told by its content."""

    DICOM = "dicom"
    PNG = "png"
    JPEG = "jpeg"


class View(StrEnum):
    """Projection of a frontal film (DICOM PS3.3 C.8.11.5 View Position); lateral films are rejected."""

    PA = "PA"
    AP = "AP"
    UNKNOWN = "unknown"


class FilmClass(StrEnum):
    """What the classifier can say of a film (qu-ex section 2; inflocnet section 3)."""

    COVID19 = "covid19"
    PNEUMONIA = "pneumonia"
    NORMAL = "normal"


class Grade(StrEnum):
    """Severity by percent of lung infected; the cut points stand in the bundle card."""

    NONE = "none"
    MILD = "mild"
    MODERATE = "moderate"
    SEVERE = "severe"
    CRITICAL = "critical"


class LungsFound(StrEnum):
    """Which lungs the cleaned mask holds, in the patient's own left and right."""

    BOTH = "both"
    LEFT_ONLY = "left_only"
    RIGHT_ONLY = "right_only"


class Windowing(StrEnum):
    """How stored values were brought to grey: the first of these that the film supports."""

    VOI_LUT = "voi_lut"
    WINDOW = "window"
    PERCENTILE = "percentile"


class Disposition(StrEnum):
    """What a run's plan does with a listed reference."""

    SCORE = "score"
    DUPLICATE = "duplicate"
    SETTLED = "settled"
