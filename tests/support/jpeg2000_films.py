"""JPEG 2000 codestreams of one film, and the ways of decoding them that the tests compare."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxrlib.reading.codecs.frame_header import read_frame_header
from cxrlib.reading.jpeg2000.bit_planes import without_lowest_planes
from cxrlib.reading.jpeg2000.markers import CodingStyle, coding_style
from cxrlib.reading.jpeg2000.resolution import at_lower_resolution
from cxrlib.reading.lattice import Reduced
from cxrlib.reading.reduced_resolution import decode_reduced
from tests.support.film_files import film

Pixels = NDArray[np.integer]

FILM = film(603, 522)
LEVEL = 1


def j2k(pixels: Pixels, mode: str, bits: int = 12, **options: object) -> bytes:
    """Encode `pixels`; `mode` is ``lossy`` (90 dB) or ``lossless``."""
    level, reversible = (90, False) if mode == "lossy" else (0, True)
    stream = imagecodecs.jpeg2k_encode(
        pixels, level=level, codecformat="J2K", reversible=reversible, bitspersample=bits, **options
    )
    return bytes(stream)


def by_pillow(**options: object) -> bytes:
    """Encode `FILM` in 16 bits with Pillow, which arranges the codestream in another way."""
    out = io.BytesIO()
    Image.fromarray(FILM).save(out, "JPEG2000", no_jp2=True, **options)
    return out.getvalue()


def style_of(data: bytes) -> CodingStyle:
    """Return the coding style, which must be supported."""
    style = coding_style(data)
    assert style is not None
    return style


def fewer_planes(data: bytes, bits: int, level: int, noise: float) -> bytes:
    """Return the codestream without its lowest bit planes; there must be some to remove."""
    found = without_lowest_planes(data, style_of(data), bits, level, noise)
    assert found is not None
    return found


def decoded(data: bytes, shown: float = 0.0) -> Reduced:
    """Decode at `LEVEL` as the decode plan does."""
    found = decode_reduced(data, read_frame_header(data), LEVEL, shown)
    assert found is not None
    return found


def samples(data: bytes, level: int) -> NDArray[np.float64]:
    """Decode every bit plane of a codestream at `level`."""
    lower = at_lower_resolution(data, style_of(data), level)
    assert lower is not None
    return imagecodecs.jpeg2k_decode(lower).astype(np.float64)


def means(values: Pixels | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the means of blocks of 2 x 2 samples."""
    even = values[: len(values) // 2 * 2, : values.shape[1] // 2 * 2]
    return even.reshape(len(even) // 2, 2, -1, 2).mean(axis=(1, 3), dtype=np.float64)
