"""Measure how one wrong byte in a film changes the network's input, and how often the film is rejected.

``python -m tests.benchmarks.damage`` changes one byte in the middle three fifths of a film of 1200 x 1040 pixels and
reads the film with the decode plan. A line per way of storing the film goes to ``results/damage.csv``. Its column
``told`` counts rejected films, whatever the reason.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from pydicom.uid import UID, JPEGBaseline8Bit

from cxrlib.errors import FilmError
from cxrlib.models.bundle import load_bundle
from cxrlib.reading.read import read_film
from cxrlib.settings import Settings
from cxrlib.types import CxrImage
from tests.benchmarks import machine
from tests.benchmarks.report import write_report
from tests.benchmarks.tables import add_line
from tests.support.film_files import LOSSLESS, LOSSY, dicom, film, jpeg, png

_SIZE: Final = (1200, 1040)
#: A pixel of the network's input counts as changed from half a step of 8 bits on.
_PIXEL_CHANGE: Final = 1 / 512
#: A film counts as changed if more than this fraction of its pixels changed.
_FILM_CHANGE: Final = 0.01


def stored_films() -> Mapping[str, bytes]:
    """Return one film in every transfer syntax and file format that is read."""
    deep, byte = film(*_SIZE), film(*_SIZE, bits=8)
    films = {
        UID(syntax).name: dicom(byte, syntax, 8) if syntax == JPEGBaseline8Bit else dicom(deep, syntax)
        for syntax in (*LOSSLESS, *LOSSY)
    }
    return {**films, "PNG": png(byte), "JPEG": jpeg(byte)}


def with_wrong_byte(data: bytes, random: np.random.Generator) -> bytes:
    """Return the object with a different value in one byte of its middle three fifths."""
    wrong = bytearray(data)
    wrong[int(random.integers(len(data) // 5, 4 * len(data) // 5))] ^= int(random.integers(1, 256))
    return bytes(wrong)


def outcome(data: bytes, sound: CxrImage, settings: Settings) -> str:
    """Classify a damaged film: ``told`` (rejected), ``changed``, ``changed_little`` or ``as_before``."""
    try:
        got = read_film(data, settings, *sound.pixels.shape)
    except FilmError:
        return "told"
    changed = float((np.abs(got.pixels - sound.pixels) >= _PIXEL_CHANGE).mean())
    if changed > _FILM_CHANGE:
        return "changed"
    return "changed_little" if changed else "as_before"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; ``--help`` lists the options."""
    parser = argparse.ArgumentParser(prog="damage", description=__doc__)
    parser.add_argument("--films", type=int, default=200)
    chosen = parser.parse_args(arguments)
    settings = Settings()
    card = load_bundle("default").card.input
    for stored, data in stored_films().items():
        random = np.random.default_rng(0)
        sound = read_film(data, settings, card.rows, card.columns)
        outcomes = Counter(outcome(with_wrong_byte(data, random), sound, settings) for _ in range(chosen.films))
        counts = {name: outcomes[name] for name in ("told", "changed", "changed_little", "as_before")}
        add_line("damage", {"stored": stored, "films": chosen.films, **counts, **machine.describe()}, keys=("stored",))
    write_report()
    return 0


if __name__ == "__main__":
    sys.exit(main())
