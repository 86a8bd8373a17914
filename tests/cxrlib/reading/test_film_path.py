"""The path of one film from bytes to image: it should not return to a module that it has left.

The functions that are called while one film is read are recorded, and runs of calls within one module make one step. A
step into a module that had a step before is a return. A function's return to its caller is no step.

Before `cxrlib.reading` was regrouped, the lossy JPEG 2000 film took 77 steps in 23 modules, with 54
returns. The returns that remain are shared helpers: typed look-ups in the header, size limits, the sampling lattice.
"""

from __future__ import annotations

import inspect
import sys
from itertools import groupby
from pathlib import Path
from types import FrameType

import pytest

import cxrlib.reading
from cxrlib.phantom import make_phantom
from cxrlib.phantom.dicom_style import DicomStyle
from cxrlib.phantom.encode import encode_dicom
from cxrlib.phantom.transfer_syntax import TransferSyntax
from cxrlib.reading import read_film
from cxrlib.settings import Settings

_FOLDER = f"{Path(cxrlib.reading.__file__).parent}/"


def steps_of(data: bytes) -> list[str]:
    """Return the modules of `cxrlib.reading` in which functions are called one after another while a film is read."""
    modules: list[str] = []
    generators: list[FrameType] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(_FOLDER) or code.co_name.startswith("<"):
            return
        if code.co_flags & inspect.CO_GENERATOR:  # resuming a generator is no call
            if any(frame is each for each in generators):
                return
            generators.append(frame)
        modules.append(code.co_filename[len(_FOLDER) :])

    read_film(data, Settings(), 256, 256)  # so that cached tables are computed
    sys.setprofile(note)
    try:
        read_film(data, Settings(), 256, 256)
    finally:
        sys.setprofile(None)
    return [module for module, _ in groupby(modules)]


@pytest.mark.parametrize(
    ("syntax", "most_modules", "most_returns"),
    [(TransferSyntax.JPEG_2000, 30, 11), (TransferSyntax.EXPLICIT_LE, 24, 12), (TransferSyntax.JPEG_BASELINE, 29, 11)],
    ids=lambda value: value.name if isinstance(value, TransferSyntax) else str(value),
)
def test_film_rarely_returns_to_a_module(syntax: TransferSyntax, most_modules: int, most_returns: int) -> None:
    bits = 8 if syntax is TransferSyntax.JPEG_BASELINE else 12
    data = encode_dicom(make_phantom(1, rows=1400, columns=1200), DicomStyle(syntax=syntax, bits_stored=bits))
    steps = steps_of(data)
    modules = set(steps)
    assert {"read.py", "dicom/film.py", "display/image.py"} <= modules
    assert len(modules) <= most_modules
    assert len(steps) - len(modules) <= most_returns, " > ".join(steps)
