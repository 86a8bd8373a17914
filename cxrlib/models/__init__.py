"""Networks: the catalog of architectures, model bundles, and the engine that runs a bundle.

`architectures` holds the papers' networks, `inference` runs them, `bundle` reads and writes bundles, and ``default`` is
the bundle that ships with the package. The public names below are imported when they are first used: ``import
cxrlib.models`` loads no torch. `Architecture.build` needs it, and so does `load_engine` for a GPU.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cxrlib.models.architectures.catalog import Architecture as Architecture
    from cxrlib.models.architectures.catalog import Variant as Variant
    from cxrlib.models.architectures.catalog import find_architecture as find_architecture
    from cxrlib.models.architectures.catalog import load_catalog as load_catalog
    from cxrlib.models.bundle import Bundle as Bundle
    from cxrlib.models.bundle import load_bundle as load_bundle
    from cxrlib.models.bundle import write_bundle as write_bundle
    from cxrlib.models.inference.choose_engine import load_engine as load_engine

#: Each public name and the module that defines it.
_DEFINED_IN: Final = {
    "Architecture": "cxrlib.models.architectures.catalog",
    "Bundle": "cxrlib.models.bundle",
    "Variant": "cxrlib.models.architectures.catalog",
    "find_architecture": "cxrlib.models.architectures.catalog",
    "load_bundle": "cxrlib.models.bundle",
    "load_catalog": "cxrlib.models.architectures.catalog",
    "load_engine": "cxrlib.models.inference.choose_engine",
    "write_bundle": "cxrlib.models.bundle",
}

__all__ = [*_DEFINED_IN]  # noqa: PLE0604 - names of the table above


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_DEFINED_IN[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
