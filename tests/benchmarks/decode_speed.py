"""From the bytes of a film to what the network reads: planned, whole, and as a competent user would.

``python -m tests.benchmarks.decode_speed`` reads a phantom of 3000 x 2500 in each syntax in turns and puts medians of
processor time into ``results/decode_speed.csv``. The rival decodes with pydicom, by the fastest of the plug-ins that
are installed, and shrinks the stored values with OpenCV; it neither windows nor takes a digest, as we do.
"""

from __future__ import annotations

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
import pydicom
from pydicom.pixels import get_decoder

from cxrlib.models.bundle import load_bundle
from cxrlib.phantom.dicom_style import DicomStyle
from cxrlib.phantom.encode import encode_dicom
from cxrlib.phantom.film import make_phantom
from cxrlib.phantom.transfer_syntax import TransferSyntax
from cxrlib.reading.read import read_film
from tests.benchmarks import machine
from tests.benchmarks.decode_films import FIRST_SEED
from tests.benchmarks.decode_plan import FULL, PLANNED
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line

STYLES: Final = (
    DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS),
    DicomStyle(TransferSyntax.JPEG_2000),
    DicomStyle(TransferSyntax.HTJ2K_LOSSLESS, bits_stored=16),
    DicomStyle(TransferSyntax.EXPLICIT_LE),
    DicomStyle(TransferSyntax.RLE),
    DicomStyle(TransferSyntax.JPEG_LS, bits_stored=16),
    DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8),
)


def rivals(data: bytes) -> dict[str, Callable[[], object]]:
    """Return a way of reading `data` for each plug-in of pydicom that can decode it."""
    header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    syntax = header.file_meta.TransferSyntaxUID
    plugins = get_decoder(syntax).available_plugins if syntax.is_encapsulated else ("",)
    card = load_bundle("default").card.input

    def read(plugin: str) -> object:
        film = pydicom.dcmread(io.BytesIO(data))
        if plugin:
            film.pixel_array_options(decoding_plugin=plugin)
        return cv2.resize(film.pixel_array, (card.columns, card.rows), interpolation=cv2.INTER_AREA)

    return {plugin or "numpy": lambda plugin=plugin: read(plugin) for plugin in plugins}  # type: ignore[misc]


def milliseconds(work: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def measured(style: DicomStyle, turns: int) -> dict[str, object]:
    """Return the figures of one syntax."""
    data = encode_dicom(make_phantom(FIRST_SEED, rows=3000, columns=2500), style)
    card = load_bundle("default").card.input
    ways = rivals(data)
    # Each once before it counts, which also finds the plug-in to compare with.
    first = {name: milliseconds(way) for name, way in ways.items() if _decodes(way)}
    plugin = min(first, key=first.__getitem__)
    works: tuple[Callable[[], object], ...] = (
        lambda: read_film(data, PLANNED, card.rows, card.columns),
        lambda: read_film(data, FULL, card.rows, card.columns),
        ways[plugin],
    )
    for work in works:
        work()
    taken = np.array([[milliseconds(work) for work in works] for _ in range(turns)])
    planned, full, rival = (statistics.median(column) for column in taken.T)
    return {
        "syntax": style.syntax.name,
        "turns": turns,
        "planned_ms": round(planned, 1),
        "full_ms": round(full, 1),
        "pydicom_ms": round(rival, 1),
        "plugin": plugin,
        "full_over_planned": round(statistics.median(taken[:, 1] / taken[:, 0]), 1),
        "pydicom_over_planned": round(statistics.median(taken[:, 2] / taken[:, 0]), 1),
    }


def _decodes(way: Callable[[], object]) -> bool:
    try:
        way()
    except Exception:  # each plug-in has errors of its own for what it does not decode
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; parameters as ``--help`` says."""
    parser = argparse.ArgumentParser(prog="decode_speed", description=__doc__)
    parser.add_argument("syntaxes", nargs="*", help="names of transfer syntaxes; all of them where none is given")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    for style in STYLES:
        if not chosen.syntaxes or style.syntax.name in chosen.syntaxes:
            add_line("decode_speed", {**measured(style, chosen.repeats), **machine.describe()}, keys=("syntax",))
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
