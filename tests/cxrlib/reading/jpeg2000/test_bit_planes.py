"""Invisible bit planes are left out of a JPEG 2000 stream, and add no more noise than allowed."""

from __future__ import annotations

import math

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import JPEG2000, JPEG2000Lossless

from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.codecs.frame_header import FrameHeader
from cxrlib.reading.dicom import pixels as reading_pixels
from cxrlib.reading.dicom.film import read_dicom
from cxrlib.reading.jpeg2000 import resolution
from cxrlib.reading.jpeg2000.bit_planes import LARGEST_NOISE
from cxrlib.reading.lattice import Grid, Reduced
from cxrlib.reading.reduced_resolution import decode_reduced
from cxrlib.settings import PrivacySettings, ReadSettings
from tests.cxrlib.reading.dicom.test_film import lut
from tests.support.film_files import dicom, film
from tests.support.jpeg2000_films import FILM, LEVEL, Pixels, decoded, fewer_planes, j2k, means, samples

#: Largest noise that rounding samples to whole values adds to their means.
ROUNDING = 0.3
WAYS = ["lossy", "lossless"]


def error(data: bytes, width: float) -> NDArray[np.float64]:
    """Return the difference of the film's means from those with all its bit planes."""
    return means(decoded(data, width).pixels) - means(decoded(data).pixels)


def span(data: bytes) -> float:
    low, high = np.percentile(decoded(data).pixels, (5, 95))
    return float(high - low)


def grainy(bits: int) -> Pixels:
    """Return a film with grain of 8 steps of 8 bits: about as wide as the steps that remain in these tests."""
    grain = 2.0 ** (bits - 5) * np.random.default_rng(bits).standard_normal((1203, 1042))
    pixels = np.clip(film(1203, 1042, bits) + grain, 0, 2**bits - 1)
    return pixels.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("way", WAYS)
def test_added_noise_is_close_to_the_allowed_noise(way: str, bits: int, level: int) -> None:
    data = j2k(grainy(bits), way, bits)
    allowed = 2.0 ** (bits - 8)
    fewer = fewer_planes(data, bits, level, allowed)
    found = means(samples(fewer, level)) - means(samples(data, level))
    assert 0.2 * allowed < found.std() < 1.1 * allowed
    assert abs(found.mean()) < 0.2 * allowed


@pytest.mark.parametrize("way", WAYS)
def test_no_allowed_noise_changes_no_sample(way: str) -> None:
    data = j2k(FILM, way)
    assert np.array_equal(samples(fewer_planes(data, 12, LEVEL, 0.0), LEVEL), samples(data, LEVEL))


@pytest.mark.parametrize("way", WAYS)
def test_stream_with_hardly_any_planes_decodes(way: str) -> None:
    data = j2k(FILM, way)
    for noise in (1e3, 1e5, 1e9):
        pixels = samples(fewer_planes(data, 12, 0, noise), 0)
        assert pixels.shape == FILM.shape


@pytest.mark.parametrize("way", WAYS)
def test_film_stays_within_its_range(way: str) -> None:
    data = j2k(FILM, way)
    assert 0 < error(data, math.inf).std() <= LARGEST_NOISE * span(data)


@pytest.mark.parametrize("way", WAYS)
def test_film_that_fills_little_of_its_bits_keeps_more_planes(way: str) -> None:
    data = j2k(2000 + FILM // 16, way)
    assert span(data) < 256
    found = error(data, math.inf).std()
    assert found <= LARGEST_NOISE * span(data) + ROUNDING
    assert error(j2k(FILM, way), math.inf).std() > 2 * found


@pytest.mark.parametrize("way", WAYS)
def test_narrow_window_keeps_more_planes(way: str) -> None:
    data = j2k(FILM, way)
    narrow, wide = (error(data, width).std() for width in (600.0, math.inf))
    assert narrow <= LARGEST_NOISE * 600 + ROUNDING
    assert wide > narrow


@pytest.mark.parametrize("way", WAYS)
def test_film_that_fills_little_of_its_window_keeps_more_planes(way: str) -> None:
    data = j2k(2000 + FILM // 8, way)
    found = error(data, 4096.0).std()
    assert span(data) < 512
    assert found <= LARGEST_NOISE * span(data) + ROUNDING
    assert error(j2k(FILM, way), 4096.0).std() > 2 * found


@pytest.mark.parametrize("way", WAYS)
def test_window_wider_than_the_bits_counts_as_their_range(way: str) -> None:
    data = j2k(FILM, way)
    assert np.array_equal(decoded(data, 1e300).pixels, decoded(data, 4096.0).pixels)


@pytest.mark.parametrize("way", WAYS)
def test_unknown_range_keeps_every_plane(way: str) -> None:
    data = j2k(FILM, way)
    assert np.array_equal(decoded(data, 0.0).pixels, samples(data, LEVEL))


@pytest.mark.parametrize("way", WAYS)
def test_film_of_one_value_keeps_every_plane(way: str) -> None:
    data = j2k(np.full((603, 522), 1234, np.uint16), way)
    assert np.array_equal(decoded(data, math.inf).pixels, decoded(data).pixels)


@pytest.mark.parametrize("way", WAYS)
def test_film_of_few_resolutions_keeps_every_plane(way: str) -> None:
    data = j2k(FILM, way, resolutions=3)  # the film and two halvings
    assert np.array_equal(decoded(data, math.inf).pixels, decoded(data).pixels)


@pytest.mark.parametrize("way", WAYS)
def test_signed_film_loses_planes_around_zero(way: str) -> None:
    data = j2k(FILM.astype(np.int16) - 2048, way)
    found = error(data, math.inf)
    assert decoded(data, math.inf).pixels.dtype == np.int16
    assert 0 < found.std() <= LARGEST_NOISE * span(data)
    assert abs(found.mean()) < 0.2 * LARGEST_NOISE * span(data)


def test_packets_in_another_order_lose_the_same_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = j2k(FILM, "lossy")
    by_lower = decoded(data, math.inf)
    monkeypatch.setattr(resolution, "at_lower_resolution", lambda *_: None)
    by_pillow = decoded(data, math.inf)
    assert np.abs(by_lower.pixels.astype(int) - by_pillow.pixels).max() <= 1  # Pillow scales to 16 bits and back


def test_codestream_in_a_jp2_file_loses_planes() -> None:
    boxed = bytes(imagecodecs.jpeg2k_encode(FILM, codecformat="JP2", reversible=True, bitspersample=12))
    assert np.array_equal(decoded(boxed, math.inf).pixels, decoded(j2k(FILM, "lossless"), math.inf).pixels)
    assert not np.array_equal(decoded(boxed, math.inf).pixels, decoded(boxed).pixels)


WIDTHS: dict[str, tuple[dict[str, object], float]] = {
    "a window": ({"WindowCenter": 2000, "WindowWidth": 1500}, 1500),
    "a window after rescaling": ({"WindowCenter": 2000, "WindowWidth": 1500, "RescaleSlope": -3}, 500),
    "a window without a centre": ({"WindowWidth": 1500}, math.inf),
    "nothing": ({}, math.inf),
    "a VOI table": ({"WindowWidth": 1500, "VOILUTSequence": lut(0, list(range(4096)), 12)}, 0),
    "a modality table": ({"ModalityLUTSequence": lut(0, list(range(4096)), 12)}, 0),
}


@pytest.mark.parametrize(("elements", "width"), WIDTHS.values(), ids=WIDTHS.keys())
@pytest.mark.parametrize("syntax", [JPEG2000, JPEG2000Lossless])
def test_header_gives_the_width_of_the_grey_scale(
    syntax: str, elements: dict[str, object], width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = []

    def noted(data: bytes, header: FrameHeader, level: int, width: float) -> Reduced | None:
        got.append(width)
        return decode_reduced(data, header, level, width)

    monkeypatch.setattr(reading_pixels, "decode_reduced", noted)
    data = dicom(FILM, syntax, elements=elements)
    read_dicom(data, ReadSettings(), Pseudonymiser.of(PrivacySettings()), Grid(128, 128))
    assert got == [width]
