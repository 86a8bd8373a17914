"""Class names as data sets write them."""

from __future__ import annotations

from typing import Final

from cxr_schemas import FilmClass
from cxrlib.datasets.polygons import normalise_label

#: By name in lower case, with underscores for blanks and dashes.
_CLASSES: Final = {
    **dict.fromkeys(("covid", "covid19", "covid_19"), FilmClass.COVID19),
    **dict.fromkeys(
        ("pneumonia", "non_covid", "viral_pneumonia", "bacterial_pneumonia", "lung_opacity"), FilmClass.PNEUMONIA
    ),
    **dict.fromkeys(("normal", "healthy", "no_finding"), FilmClass.NORMAL),
}


def class_from_label(name: str) -> FilmClass | None:
    """Return the class that a data set calls `name`, or None where it is none of ours (a nodule, tuberculosis)."""
    return _CLASSES.get(normalise_label(name))
