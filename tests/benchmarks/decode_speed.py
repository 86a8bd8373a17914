"""Measure the time from a film's bytes to the network's input: planned decoding, full decoding, and plain pydicom.

``python -m tests.benchmarks.decode_speed`` reads a phantom of 3000 x 2500 pixels in each syntax in turns and writes
medians of processor time to ``results/decode_speed.csv``. The rival decodes with the fastest installed plug-in of
pydicom and shrinks the stored values with OpenCV. Unlike `read_film` it applies no window and computes no digest.
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
    """Return a function that reads `data` for each available pydicom plug-in of its syntax."""
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
    """Return the processor time of one call in milliseconds."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def measured(style: DicomStyle, turns: int) -> dict[str, object]:
    """Return the result line of one syntax."""
    data = encode_dicom(make_phantom(FIRST_SEED, rows=3000, columns=2500), style)
    card = load_bundle("default").card.input
    readers = rivals(data)
    # Warm each plug-in up once; the fastest that works is the rival.
    first = {name: milliseconds(reader) for name, reader in readers.items() if _decodes(reader)}
    plugin = min(first, key=first.__getitem__)
    works: tuple[Callable[[], object], ...] = (
        lambda: read_film(data, PLANNED, card.rows, card.columns),
        lambda: read_film(data, FULL, card.rows, card.columns),
        readers[plugin],
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


def _decodes(read: Callable[[], object]) -> bool:
    try:
        read()
    except Exception:  # each plug-in raises its own errors
        return False
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="decode_speed", description=__doc__)
    parser.add_argument("syntaxes", nargs="*", help="names of transfer syntaxes; all by default")
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
