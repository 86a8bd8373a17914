"""Map the class names of data sets to our classes."""

from __future__ import annotations

from typing import Final

from cxr_schemas import FilmClass
from cxrlib.datasets.polygons import normalise_label

#: Class by name, in lower case with underscores for blanks and dashes.
_CLASSES: Final = {
    **dict.fromkeys(("covid", "covid19", "covid_19"), FilmClass.COVID19),
    **dict.fromkeys(
        ("pneumonia", "non_covid", "viral_pneumonia", "bacterial_pneumonia", "lung_opacity"), FilmClass.PNEUMONIA
    ),
    **dict.fromkeys(("normal", "healthy", "no_finding"), FilmClass.NORMAL),
}


def class_from_label(name: str) -> FilmClass | None:
    """Return the class that a data set calls `name`; None for any other finding (nodule, tuberculosis)."""
    return _CLASSES.get(normalise_label(name))
