"""Versions of the software that can change a row. Manifests store them, and a worker is compared with the planner.

A distribution is listed if it decodes a film, resizes or computes with its pixels, builds or runs a network, or writes
rows. One that is not installed is left out.
"""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Final

from cxrlib import __version__, extras

#: Distributions that can change a row, or how it is made.
DISTRIBUTIONS: Final = (
    "apache-beam",  # sends films through the pipeline
    "captum",  # localisation maps
    "imagecodecs",  # decodes JPEG 2000, JPEG-LS, PNG and RLE
    "numpy",
    "opencv-python-headless",  # resizes films, cleans masks
    "openvino",  # runs networks
    "pillow",  # decodes JPEG 2000 at a lower resolution
    "pyarrow",  # writes rows
    "pycocotools",  # encodes masks
    "pydicom",  # reads headers
    "scipy",  # averages films of reduced resolution
    "segmentation-models-pytorch",  # networks
    "simplejpeg",  # decodes JPEG
    "timm",  # networks
    "torch",  # runs networks
    "torchvision",  # networks
)
#: Those of the extra `gpu`, which a run on CPUs may lack. An engine that needs one says so itself.
_OF_GPU: Final = frozenset(library.distribution for library in extras.LIBRARIES.values() if library.extra == "gpu")


def installed() -> dict[str, str]:
    """Return the versions of the listed distributions that are installed here."""
    versions = {}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def environment() -> dict[str, str]:
    """Return what a worker must share with the planner of its run: `installed`, Python and this package."""
    return {"python": platform.python_version(), "cxr-batch": __version__, **installed()}


def differences(expected: dict[str, str]) -> str:
    """Return where this environment differs from `expected`, as ``numpy 2.4.6 here 2.4.5``; empty where it agrees.

    A distribution that is missing here reads ``here none``; one of the extra `gpu` may be missing.
    """
    here = environment()
    return ", ".join(
        f"{name} {version} here {here.get(name, 'none')}"
        for name, version in expected.items()
        if here.get(name) != version and not (name in _OF_GPU and name not in here)
    )
