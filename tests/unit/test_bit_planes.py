"""Bit planes that no grey shows are left out of a lossy stream, and what that adds is the noise that was foreseen."""

from __future__ import annotations

import math
import struct

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.uid import JPEG2000

from cxrlib.privacy import Pseudonymiser
from cxrlib.reading import pixels as reading_pixels
from cxrlib.reading import reduced
from cxrlib.reading.bit_planes import Quantisation, quantisation, without_lowest_planes
from cxrlib.reading.codestream import FrameHeader, frame_header
from cxrlib.reading.coding_style import CodingStyle, coding_style
from cxrlib.reading.dicom_film import read_dicom
from cxrlib.reading.lattice import Grid
from cxrlib.reading.lower_resolution import at_lower_resolution
from cxrlib.reading.reduced import FINENESS, Reduced, decode_reduced
from cxrlib.settings import PrivacySettings, ReadSettings
from tests.corpus.film_maker import dicom, film
from tests.unit.test_dicom_film import lut

FILM = film(603, 522)
LEVEL = 1


def lossy(pixels: NDArray[np.integer], decibels: int = 60, bits: int = 12) -> bytes:
    return bytes(
        imagecodecs.jpeg2k_encode(pixels, level=decibels, codecformat="J2K", reversible=False, bitspersample=bits)
    )


def read(data: bytes) -> tuple[CodingStyle, Quantisation]:
    style = coding_style(data)
    assert style is not None
    quantised = quantisation(data, style)
    assert quantised is not None
    return style, quantised


def decoded(data: bytes, shown: float = 0.0) -> Reduced:
    found = decode_reduced(data, frame_header(data), LEVEL, shown)
    assert found is not None
    return found


def error(found: Reduced, data: bytes) -> NDArray[np.float64]:
    """What `found` differs by from all bit planes of `data`."""
    return found.pixels.astype(np.float64) - decoded(data).pixels


def span(data: bytes) -> float:
    low, high = np.percentile(decoded(data).pixels, (5, 95))
    return float(high - low)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_noise_is_no_more_than_was_foreseen_and_not_much_less(bits: int, level: int) -> None:
    # Grain of 8 steps of 8 bits: about as wide as the steps that are left.
    grain = 2.0 ** (bits - 5) * np.random.default_rng(bits).standard_normal((1203, 1042))
    pixels = np.clip(film(1203, 1042, bits) + grain, 0, 2**bits - 1)
    data = lossy(pixels.astype(np.uint8 if bits == 8 else np.uint16), 90, bits)
    style, quantised = read(data)

    def samples(planes: int) -> NDArray[np.float64]:
        lower = at_lower_resolution(without_lowest_planes(data, quantised, planes), style, level)
        assert lower is not None
        return imagecodecs.jpeg2k_decode(lower).astype(np.float64)

    planes = quantised.spare_planes(bits, style.levels - level, 2.0 ** (bits - 7))
    found = samples(planes) - samples(0)
    foreseen = quantised.noise(bits, style.levels - level) * 2**planes
    assert planes >= 2
    assert 0.45 * foreseen < found.std() < 1.1 * foreseen
    assert abs(found.mean()) < 0.05 * foreseen


@pytest.mark.parametrize("noise", [0.01, 0.3, 1.0, 7.0])
def test_as_many_planes_are_spare_as_keep_within_the_noise(noise: float) -> None:
    style, quantised = read(lossy(FILM))
    own = quantised.noise(12, style.levels)
    planes = quantised.spare_planes(12, style.levels, noise)
    assert planes == 0 or own * 2**planes <= noise
    assert own * 2 ** (planes + 1) > noise


def test_no_noise_leaves_every_plane() -> None:
    style, quantised = read(lossy(FILM))
    assert quantised.spare_planes(12, style.levels, 0.0) == 0
    assert without_lowest_planes(lossy(FILM), quantised, 0) == lossy(FILM)


def test_stream_decodes_with_hardly_a_plane_left() -> None:
    data = lossy(FILM)
    style, quantised = read(data)
    planes = quantised.spare_planes(12, style.levels, 1e9)
    assert planes == min(quantised.exponents) - 1
    pixels = imagecodecs.jpeg2k_decode(without_lowest_planes(data, quantised, planes))
    assert pixels.shape == FILM.shape


def test_film_keeps_within_its_range() -> None:
    data = lossy(FILM)
    found = error(decoded(data, math.inf), data)
    assert 0 < found.std() <= FINENESS * span(data)


def test_film_that_fills_little_of_its_bits_keeps_more_planes() -> None:
    data = lossy(2000 + FILM // 16, 90)
    found = error(decoded(data, math.inf), data)
    assert span(data) < 256
    assert found.std() <= max(FINENESS * span(data), 0.1)  # a tenth of what rounding to whole values may hide
    assert error(decoded(lossy(FILM, 90), math.inf), lossy(FILM, 90)).std() > 4 * found.std()


def test_narrow_window_keeps_more_planes() -> None:
    data = lossy(FILM, 90)
    narrow, wide = (error(decoded(data, shown), data).std() for shown in (500.0, math.inf))
    assert narrow <= FINENESS * 500
    assert wide > narrow


def test_range_that_nobody_states_keeps_every_plane() -> None:
    data = lossy(FILM)
    style = coding_style(data)
    assert style is not None
    lower = at_lower_resolution(data, style, LEVEL)
    assert lower is not None
    assert np.array_equal(decoded(data, 0.0).pixels, imagecodecs.jpeg2k_decode(lower))


def test_film_of_one_value_keeps_every_plane() -> None:
    data = lossy(np.full((603, 522), 1234, np.uint16))
    assert np.array_equal(decoded(data, math.inf).pixels, decoded(data).pixels)


def test_lossless_film_keeps_every_plane() -> None:
    data = bytes(imagecodecs.jpeg2k_encode(FILM, codecformat="J2K", reversible=True, bitspersample=12))
    style = coding_style(data)
    assert style is not None and quantisation(data, style) is None
    assert np.array_equal(decoded(data, math.inf).pixels, decoded(data).pixels)


def test_packets_in_another_order_lose_the_same_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = lossy(FILM)
    by_lower = decoded(data, math.inf)
    monkeypatch.setattr(reduced, "at_lower_resolution", lambda *_: None)
    by_pillow = decoded(data, math.inf)
    assert np.abs(by_lower.pixels.astype(int) - by_pillow.pixels).max() <= 1  # Pillow scales to 16 bits and back


def with_qcd(data: bytes, segment: bytes) -> bytes:
    """Return the stream with another QCD segment."""
    style = coding_style(data)
    assert style is not None and style.qcd is not None
    (length,) = struct.unpack_from(">H", data, style.qcd + 2)
    return data[: style.qcd] + segment + data[style.qcd + 2 + length :]


def test_derived_steps_are_those_of_the_standard() -> None:
    # One exponent, of LL; with each resolution above the lowest two it is one less (E-5).
    style, quantised = read(with_qcd(lossy(FILM), b"\xff\x5c\x00\x05\x41" + struct.pack(">H", 16 << 11 | 300)))
    assert style.levels == 5
    assert quantised.exponents == (16, 16, 16, 16, 15, 15, 15, 14, 14, 14, 13, 13, 13, 12, 12, 12)
    assert set(quantised.mantissas) == {300}
    assert quantised.stored == 1


def test_derived_steps_lose_planes_too() -> None:
    data = with_qcd(lossy(FILM), b"\xff\x5c\x00\x05\x41" + struct.pack(">H", 16 << 11 | 300))
    _, quantised = read(data)
    _, lowered = read(without_lowest_planes(data, quantised, 3))
    assert lowered.exponents == tuple(exponent - 3 for exponent in quantised.exponents)
    assert lowered.mantissas == quantised.mantissas


@pytest.mark.parametrize(
    "segment",
    [b"\xff\x5c\x00\x04\x20\x90", b"\xff\x5c\x00\x05\x42\x90\x00", b"\xff\x5c\x00\x05\x43\x90\x00"],
    ids=["none", "too few", "unknown"],
)
def test_steps_that_are_not_stated_leave_every_plane(segment: bytes) -> None:
    data = with_qcd(lossy(FILM), segment)
    style = coding_style(data)
    assert style is not None and quantisation(data, style) is None


def test_second_quantisation_leaves_every_plane() -> None:
    data = lossy(FILM)
    style = coding_style(data)
    assert style is not None and style.qcd is not None
    (length,) = struct.unpack_from(">H", data, style.qcd + 2)
    segment = data[style.qcd : style.qcd + 2 + length]
    twice = data[: style.qcd] + segment + data[style.qcd :]
    again = coding_style(twice)
    assert again is not None and again.qcd is None and quantisation(twice, again) is None


SHOWN: dict[str, tuple[dict[str, object], float]] = {
    "a window": ({"WindowCenter": 2000, "WindowWidth": 1500}, 1500),
    "a window after rescaling": ({"WindowCenter": 2000, "WindowWidth": 1500, "RescaleSlope": -3}, 500),
    "nothing": ({}, math.inf),
    "a VOI table": ({"WindowWidth": 1500, "VOILUTSequence": lut(0, list(range(4096)), 12)}, 0),
    "a modality table": ({"ModalityLUTSequence": lut(0, list(range(4096)), 12)}, 0),
}


@pytest.mark.parametrize(("elements", "shown"), SHOWN.values(), ids=SHOWN.keys())
def test_header_says_what_is_shown(elements: dict[str, object], shown: float, monkeypatch: pytest.MonkeyPatch) -> None:
    met = []

    def noted(data: bytes, header: FrameHeader, level: int, shown: float) -> Reduced | None:
        met.append(shown)
        return decode_reduced(data, header, level, shown)

    monkeypatch.setattr(reading_pixels, "decode_reduced", noted)
    data = dicom(FILM, JPEG2000, elements=elements)
    read_dicom(data, ReadSettings(), Pseudonymiser.of(PrivacySettings()), Grid(128, 128))
    assert met == [shown]
