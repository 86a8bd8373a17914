"""Read LabelMe files and fill their shapes to masks in memory.

LabelMe writes one JSON file per film with ``imagePath``, ``imageHeight``, ``imageWidth``, ``flags`` and a list
``shapes``. Each shape has a ``label``, a ``shape_type`` and ``points``: x, y in pixels, with the origin at the outer
corner of the first pixel. A ``linestrip`` that ends where it began outlines an area, so it is read as a polygon.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.errors import UsageError

#: Fractional bits of the coordinates passed to OpenCV: corners are placed to 1/16 pixel.
_FRACTION_BITS: Final = 4

#: Largest distance in pixels between the first and the last point of a linestrip that is closed.
_CLOSED_WITHIN: Final = 1.0


class Region(StrEnum):
    """The region that a shape outlines. Left and right are the patient's."""

    LUNG = "lung"
    LEFT = "left"
    RIGHT = "right"
    INFECTION = "infection"


#: Region by label, in lower case with underscores for blanks and dashes.
REGION_BY_LABEL: Final = {
    **dict.fromkeys(("lung", "lungs", "both_lungs", "lung_field", "lung_fields"), Region.LUNG),
    **dict.fromkeys(("left", "left_lung", "lung_left", "l_lung", "lung_l"), Region.LEFT),
    **dict.fromkeys(("right", "right_lung", "lung_right", "r_lung", "lung_r"), Region.RIGHT),
    **dict.fromkeys(("infection", "infected", "infected_region", "lesion", "opacity"), Region.INFECTION),
    **dict.fromkeys(("consolidation", "ggo", "ground_glass", "ground_glass_opacity"), Region.INFECTION),
    **dict.fromkeys(("pneumonia", "covid", "covid_19", "covid19"), Region.INFECTION),
}


@dataclass(frozen=True, slots=True)
class PolygonMask:
    """A mask that is the union of all shapes of `regions` in one LabelMe file."""

    path: Path
    regions: frozenset[Region]


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One shape: its label as written, its region (None for an unknown label), and its outline.

    `outline` is float64, corners x 2 (x, y), in pixels.
    """

    label: str
    region: Region | None
    outline: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Annotation:
    """The content of one LabelMe file. `image` is its image path as written; `flags` holds the flags that are set."""

    image: str
    rows: int
    columns: int
    shapes: tuple[Shape, ...]
    flags: frozenset[str]


def normalise_label(label: str) -> str:
    """Return a label in lower case, with underscores for blanks and dashes."""
    return label.strip().lower().replace(" ", "_").replace("-", "_")


def read_annotation(path: Path) -> Annotation:
    """Read a LabelMe file.

    Raises
    ------
    UsageError
        The file is missing, is not a LabelMe file, or holds a shape without an area (a line, a point).
    """
    try:
        document = json.loads(path.read_bytes())
        return Annotation(
            image=str(document["imagePath"]).replace("\\", "/"),
            rows=int(document["imageHeight"]),
            columns=int(document["imageWidth"]),
            shapes=tuple(_shape(shape, path) for shape in document["shapes"]),
            flags=frozenset(normalise_label(flag) for flag, is_set in (document.get("flags") or {}).items() if is_set),
        )
    except OSError as error:
        raise UsageError(f"expected a LabelMe file at {path}; got {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"expected LabelMe's imagePath, imageHeight, imageWidth and shapes in {path}; "
            f"got {type(error).__name__}: {error}"
        ) from error


def _shape(shape: dict[str, Any], path: Path) -> Shape:
    label = str(shape["label"])
    points = np.asarray(shape["points"], dtype=np.float64)
    kind = shape.get("shape_type") or "polygon"
    if kind == "linestrip" and _is_closed(points):
        kind, points = "polygon", points[:-1]
    if kind == "rectangle" and points.shape == (2, 2):
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif kind == "circle" and points.shape == (2, 2):
        angles = np.linspace(0, 2 * np.pi, 128, endpoint=False)
        radius = np.hypot(*(points[1] - points[0]))
        points = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind != "polygon" or points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise UsageError(
            f"{path}: expected shapes that enclose an area (polygon, rectangle, circle, closed linestrip); "
            f"got a {kind} of {len(points)} points labelled {label!r}"
        )
    return Shape(label, REGION_BY_LABEL.get(normalise_label(label)), points)


def _is_closed(points: NDArray[np.float64]) -> bool:
    """Return whether a linestrip of at least three corners ends within a pixel of its first point."""
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 4:
        return False
    return bool(np.hypot(*(points[-1] - points[0])) <= _CLOSED_WITHIN)


def fill_regions(annotation: Annotation, regions: frozenset[Region]) -> NDArray[np.bool_]:
    """Return the union of all shapes of `regions` as a mask: bool, rows x columns of the annotated image."""
    mask = np.zeros((annotation.rows, annotation.columns), dtype=np.uint8)
    for shape in annotation.shapes:
        if shape.region in regions:
            # OpenCV puts the origin at the centre of the first pixel, LabelMe at its outer corner.
            corners = np.rint((shape.outline - 0.5) * 2**_FRACTION_BITS).astype(np.int32)
            cv2.fillPoly(mask, [corners], 1, shift=_FRACTION_BITS)
    return mask.astype(bool)
