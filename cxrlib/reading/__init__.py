"""Read chest X-rays: `read_film` turns the bytes of a file into the image that the networks read.

Only the names below are public. They are imported on first use, so that a part of this package, such as
`cxrlib.reading.resample`, does not load pydicom and the codecs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cxrlib.reading.read import read_film as read_film
    from cxrlib.types import CxrImage as CxrImage
    from cxrlib.types import FilmFacts as FilmFacts

__all__ = ["CxrImage", "FilmFacts", "read_film"]

_MODULES: Final = {
    "CxrImage": "cxrlib.types",
    "FilmFacts": "cxrlib.types",
    "read_film": "cxrlib.reading.read",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
