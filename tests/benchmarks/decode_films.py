"""Films for comparing planned with full decoding: phantoms, real DICOM films, and real images stored as DICOM."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.phantom.dicom_style import DicomStyle, Photometric, Voi
from cxrlib.phantom.encode import encode_dicom
from cxrlib.phantom.film import Phantom, make_phantom
from cxrlib.phantom.transfer_syntax import TransferSyntax
from cxrlib.reading.lattice import COARSE_BITS
from tests.support.paths import REAL_FILMS

#: Folder of the real films; it may be missing.
DATA: Final = REAL_FILMS

#: First of the seeds that no training or test of a bundle used.
FIRST_SEED: Final = 910_000

#: Sizes of detectors and plate readers, rows and columns in pixels.
SIZES: Final = ((3000, 2500), (2500, 2048), (2140, 1760), (2991, 2430), (2022, 2022), (1280, 1060))

#: Standard deviation of the noise added to an enlarged film, whose own noise is no finer than its old pixels.
_NOISE: Final = 0.008


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One object to read with planned and with full decoding.

    Attributes
    ----------
    brighter : float
        Added to the grey values, in [0, 1], of the planned image.
    other : bytes or None
        Another object to read instead of this one as the planned image, also with full decoding.
    """

    group: str
    data: bytes
    brighter: float = 0.0
    other: bytes | None = None


def phantoms_in_jpeg_2000(count: int) -> Iterator[Case]:
    """Yield lossless JPEG 2000 films of 3000 x 2500 pixels in 12 bits; every second one has no window in its header."""
    for number in range(count):
        style = DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS, voi=Voi.NONE if number % 2 else Voi.LINEAR)
        film = make_phantom(FIRST_SEED + number, rows=3000, columns=2500)
        yield Case("phantoms of 3000 x 2500, JPEG 2000 lossless", encode_dicom(film, style))


STYLES: Final = (
    DicomStyle(TransferSyntax.JPEG_2000, bits_stored=15, mirrored=True),
    DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS, Photometric.MONOCHROME1, 10, voi=Voi.SIGMOID),
    DicomStyle(TransferSyntax.HTJ2K_LOSSLESS, bits_stored=16, voi=Voi.LUT),
    DicomStyle(TransferSyntax.HTJ2K, bits_stored=16, voi=Voi.NONE),
    DicomStyle(TransferSyntax.EXPLICIT_LE, voi=Voi.LINEAR),
    DicomStyle(TransferSyntax.RLE, Photometric.MONOCHROME1, 14, voi=Voi.NONE),
    DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8, voi=Voi.NONE),
)


def phantoms_in_every_style(count: int) -> Iterator[Case]:
    """Yield `count` films of mixed sizes in each of `STYLES`."""
    for number in range(count):
        rows, columns = SIZES[number % len(SIZES)]
        film = make_phantom(FIRST_SEED + 10_000 + number, rows=rows, columns=columns)
        for style in STYLES:
            yield Case(f"phantoms of mixed size, {style.syntax.name}", encode_dicom(film, style))


def phantoms_of_a_test() -> Iterator[Case]:
    """Yield four films each in HTJ2K and native (1100 x 1030 pixels) and in JPEG (2200 x 2060 pixels)."""
    styles = (
        DicomStyle(
            TransferSyntax.HTJ2K_LOSSLESS, bits_stored=16
        ),  # encodes the same samples as JPEG 2000 in a tenth of the time
        DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8, voi=Voi.NONE),
        DicomStyle(TransferSyntax.EXPLICIT_LE, Photometric.MONOCHROME1, 14),
    )
    for number in range(4):
        for style in styles:
            scale = 2 if style.bits_stored == COARSE_BITS else 1
            film = make_phantom(FIRST_SEED + 20_000 + number, rows=scale * 1100, columns=scale * 1030)
            yield Case(style.syntax.name, encode_dicom(film, style))


def real_dicom_films() -> Iterator[Case]:
    """Yield the real DICOM files unchanged; both ways of decoding reject those that are no chest films."""
    for path in sorted((DATA / "dicom" / "files").glob("*")):
        yield Case("real DICOM files", path.read_bytes())


def real_pictures() -> list[Path]:
    """Return every PNG or JPEG film of the real data sets, sorted."""
    folders = ("classes", "classes_ext", "infection_seg", "lung_ext", "lung_seg", "severity")
    images = [path for folder in folders for path in _images(DATA / folder)]
    others = [*(DATA / "covid-qu-ex").glob("*/*/*/images/*.png"), *(DATA / "ood" / "frontal").glob("*g")]
    return sorted([*images, *others])


def real_films_in_jpeg_2000() -> Iterator[Case]:
    """Yield every real film at its own size, up to 512 x 512 pixels, as lossless JPEG 2000."""
    for path in real_pictures():
        yield Case("real films of up to 512 x 512, JPEG 2000 lossless", _as_dicom(_picture(path)))


def real_films_enlarged(count: int) -> Iterator[Case]:
    """Yield `count` real films, spread over the data sets, enlarged to 2048 x 2048 pixels with noise, as JPEG 2000."""
    for number, film in enumerate(_enlarged(count)):
        yield Case("real films enlarged to 2048 x 2048, JPEG 2000 lossless", _as_dicom(_with_noise(film, number)))


def real_films_regrained(count: int) -> Iterator[Case]:
    """Yield the same films with two different noises, as in two exposures of a patient; both are fully decoded."""
    native = TransferSyntax.EXPLICIT_LE  # the same pixels, faster to encode
    for number, film in enumerate(_enlarged(count)):
        one, other = (_as_dicom(_with_noise(film, seed), native) for seed in (number, FIRST_SEED + number))
        yield Case("no plan: real films enlarged, and the same with other grain", one, other=other)


def real_films_brighter(count: int) -> Iterator[Case]:
    """Yield `count` real films too small for reduction, to measure how much the networks alone change."""
    paths = real_pictures()
    for at in np.linspace(0, len(paths) - 1, count).astype(int):
        yield Case("no plan: real films, and the same 0.0001 brighter", _as_dicom(_picture(paths[at])), 0.0001)


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in (folder / "images").rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def _picture(path: Path) -> NDArray[np.float32]:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise ValueError(f"expected an image; got {path.name}")
    return pixels.astype(np.float32) / np.float32(255)


def _enlarged(count: int) -> Iterator[NDArray[np.float32]]:
    paths = real_pictures()
    for at in np.linspace(0, len(paths) - 1, count).astype(int):
        yield cv2.resize(_picture(paths[at]), (2048, 2048), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def _with_noise(film: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(0.0, _NOISE, film.shape)
    return np.clip(film + noise, 0.0, 1.0).astype(np.float32)


def _as_dicom(film: NDArray[np.float32], syntax: TransferSyntax = TransferSyntax.JPEG_2000_LOSSLESS) -> bytes:
    style = DicomStyle(syntax, voi=Voi.NONE, spacing=False)
    return encode_dicom(dataclasses.replace(_header_phantom(), pixels=film), style)


@cache
def _header_phantom() -> Phantom:
    return make_phantom(FIRST_SEED, rows=256, columns=256)
