"""Versions of what can change a row, or the way it was made: for a run's manifest, and to compare its workers."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Final

from cxrlib import __version__

#: Distributions whose version can change a row or the way it was made.
_DISTRIBUTIONS: Final = (
    "apache-beam",
    "imagecodecs",
    "numpy",
    "opencv-python-headless",
    "pyarrow",
    "pydicom",
    "torch",
)


def installed() -> dict[str, str]:
    """Return the version of each distribution that matters, as it is installed here."""
    return {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}


def environment() -> dict[str, str]:
    """Return what a worker must have in common with whoever planned the run: `installed`, Python and this package."""
    return {"python": platform.python_version(), "cxr-batch": __version__, **installed()}


def differences(expected: dict[str, str]) -> str:
    """Say where this environment is another than `expected`: ``torch 2.13.0 here 2.12.1``; empty where it is not."""
    here = environment()
    return ", ".join(
        f"{name} {version} here {here.get(name, 'none')}"
        for name, version in expected.items()
        if here.get(name) != version
    )
