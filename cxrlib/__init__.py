"""Score chest X-rays: read, segment, classify, clean the masks, measure. Does not import Beam or Prefect.

The public names below are imported when they are first used, so ``import cxrlib`` loads no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cxrlib import cohort as cohort
    from cxrlib.errors import BundleError as BundleError
    from cxrlib.errors import CxrError as CxrError
    from cxrlib.errors import FilmError as FilmError
    from cxrlib.errors import RunError as RunError
    from cxrlib.errors import UsageError as UsageError
    from cxrlib.models.bundle import load_bundle as load_bundle
    from cxrlib.reading.read import read_film as read_film
    from cxrlib.results.verify import verify as verify
    from cxrlib.settings import Settings as Settings

#: Each public name and the module that defines it.
_DEFINED_IN: Final = {
    "BundleError": "cxrlib.errors",
    "CxrError": "cxrlib.errors",
    "FilmError": "cxrlib.errors",
    "RunError": "cxrlib.errors",
    "Settings": "cxrlib.settings",
    "UsageError": "cxrlib.errors",
    "load_bundle": "cxrlib.models.bundle",
    "read_film": "cxrlib.reading.read",
    "verify": "cxrlib.results.verify",
}

__all__ = ["__version__", "cohort", *_DEFINED_IN]  # noqa: PLE0604 - names of the table above

try:
    __version__ = version("cxr-batch")
except PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "0.0.0+checkout"


def __getattr__(name: str) -> Any:
    if name == "cohort":
        return import_module("cxrlib.cohort")
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_DEFINED_IN[name]), name)
    except ModuleNotFoundError as error:
        named = import_module("cxrlib.extras").missing_extra(f"cxrlib.{name}", error)
        raise named or error from error


def __dir__() -> list[str]:
    return sorted(__all__)
