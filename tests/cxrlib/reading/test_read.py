"""From bytes to the image that the networks read: geometry, repeatability, damaged bytes, decode plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from cxr_schemas import Windowing
from cxrlib.errors import FilmError
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.display.grayscale import TOLERANCE
from cxrlib.reading.lattice import Grid, Lattice
from cxrlib.reading.read import read_film, read_raw
from cxrlib.settings import DecodeMode, ReadSettings, Settings
from tests.support.film_files import dicom, film, jpeg, png

SETTINGS = Settings()
FILM = film(200, 160)


def test_image_covers_the_whole_film_on_the_requested_grid() -> None:
    data = dicom(FILM)
    image = read_film(data, SETTINGS, 64, 96)
    assert image.pixels.shape == (64, 96)
    assert image.pixels.dtype == np.float32
    assert image.content_digest == hashlib.sha256(data).hexdigest()
    assert image.windowing is Windowing.PERCENTILE
    assert image.pixel_mm2 == pytest.approx(0.2 * 200 / 64 * 0.3 * 160 / 96)
    at_ends = ((image.pixels == 0) | (image.pixels == 1)).mean()
    assert image.clipped_fraction == pytest.approx(at_ends)


LAYOUTS = {
    ("R", "F"): FILM[:, ::-1],
    ("L", "H"): FILM[::-1],
    ("R", "H"): FILM[::-1, ::-1],
    ("F", "L"): FILM.T,
    ("H", "L"): FILM.T[:, ::-1],
    ("F", "R"): FILM.T[::-1],
    ("H", "R"): FILM.T[::-1, ::-1],
}


@pytest.mark.parametrize("axes", LAYOUTS, ids="".join)
def test_film_stored_mirrored_or_turned_reads_like_the_upright_one(axes: tuple[str, str]) -> None:
    turned = np.ascontiguousarray(LAYOUTS[axes])
    image = read_film(dicom(turned, elements={"PatientOrientation": list(axes)}), SETTINGS, 64, 96)
    reference = read_film(dicom(FILM), SETTINGS, 64, 96)
    assert np.abs(image.pixels - reference.pixels).max() <= TOLERANCE
    assert image.facts.mirrored
    assert (image.facts.rows, image.facts.columns) == (200, 160)


def test_monochrome1_film_reads_like_its_monochrome2_original() -> None:
    inverted = dicom(4095 - FILM, elements={"PhotometricInterpretation": "MONOCHROME1"})
    image, reference = read_film(inverted, SETTINGS, 64, 64), read_film(dicom(FILM), SETTINGS, 64, 64)
    assert np.abs(image.pixels - reference.pixels).max() < 0.002  # the percentiles fall on neighbouring values
    assert image.facts.inverted
    assert not image.polarity_corrected


@pytest.mark.parametrize("make", [png, dicom], ids=["png", "dicom"])
def test_negative_with_a_wrong_header_is_inverted_unless_the_setting_forbids_it(make: object) -> None:
    data = make(4095 - FILM)  # type: ignore[operator]
    corrected = read_film(data, SETTINGS, 64, 64)
    assert corrected.polarity_corrected
    left = read_film(data, Settings(read=ReadSettings(fix_polarity=False)), 64, 64)
    assert not left.polarity_corrected
    assert np.allclose(corrected.pixels, 1 - left.pixels)


def test_film_smaller_than_the_grid_is_enlarged() -> None:
    image = read_film(png(film(130, 130)), SETTINGS, 320, 320)
    assert image.pixels.shape == (320, 320)
    assert image.pixels.min() >= 0 and image.pixels.max() <= 1


def test_same_bytes_give_the_same_image() -> None:
    data = dicom(FILM, JPEG2000Lossless)
    assert np.array_equal(read_film(data, SETTINGS, 96, 96).pixels, read_film(data, SETTINGS, 96, 96).pixels)


FORMS = {
    "native": dicom(film(140, 130)),
    "bare": dicom(film(140, 130), part10=False),
    "jpeg-ls": dicom(film(140, 130), JPEGLSLossless),
    "baseline": dicom(film(140, 130, 8), JPEGBaseline8Bit, 8),
    "rle": dicom(film(140, 130), RLELossless),
    "j2k": dicom(film(140, 130), JPEG2000Lossless),
    "png": png(film(140, 130)),
    "jpeg": jpeg(film(140, 130, 8)),
}


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_damaged_bytes_give_an_image_or_a_reason(form: str, data: st.DataObject) -> None:
    whole = bytearray(FORMS[form])
    for _ in range(data.draw(st.integers(1, 6))):
        # Half of the damage is in the header.
        near = data.draw(st.sampled_from([min(1500, len(whole)), len(whole)]))
        whole[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(whole), data.draw(st.integers(0, len(whole)))]))
    try:
        image = read_film(bytes(whole[:end]), SETTINGS, 32, 32)
    except FilmError as error:
        assert "unexpected" not in str(error)
        assert not error.retryable
    else:
        assert np.isfinite(image.pixels).all()
        assert image.pixels.shape == (32, 32)


#: Large enough to be decoded at a reduced resolution for the grid of the tests below.
LARGE = film(700, 610)
FULL = Settings(read=ReadSettings(decode=DecodeMode.FULL))
WAVELETS = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K)
#: Decoded whole, then halved.
WHOLE = (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless)


def lattice(data: bytes) -> Lattice | None:
    return read_raw(data, SETTINGS, Pseudonymiser.of(SETTINGS.privacy), Grid(96, 80)).lattice


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2000, "WindowWidth": 3000}], ids=["percentile", "window"])
@pytest.mark.parametrize("syntax", WAVELETS, ids=lambda syntax: syntax.name)
def test_decode_plan_gives_nearly_the_image_of_full_decoding(syntax: str, window: dict[str, int]) -> None:
    data = dicom(LARGE, syntax, elements=window)
    planned, full = read_film(data, SETTINGS, 96, 80), read_film(data, FULL, 96, 80)
    assert lattice(data) is not None
    difference = planned.pixels - full.pixels
    assert np.abs(difference).max() < 0.02
    assert abs(difference.mean()) < 0.0005
    assert planned.clipped_fraction == pytest.approx(full.clipped_fraction, abs=0.005)
    for name in ("facts", "content_digest", "windowing", "polarity_corrected"):
        assert getattr(planned, name) == getattr(full, name)


@pytest.mark.parametrize("syntax", WHOLE, ids=lambda syntax: syntax.name)
def test_syntaxes_that_are_decoded_whole_give_the_same_image(syntax: str) -> None:
    image = read_film(dicom(LARGE, syntax), SETTINGS, 96, 80)
    assert lattice(dicom(LARGE, syntax)) is None
    assert np.array_equal(image.pixels, read_film(png(LARGE), SETTINGS, 96, 80).pixels)
    assert np.abs(image.pixels - read_film(dicom(LARGE), FULL, 96, 80).pixels).mean() < 0.0015


@pytest.mark.parametrize("make", [jpeg, lambda pixels: dicom(pixels, JPEGBaseline8Bit, 8)], ids=["jpeg", "dicom"])
def test_jpeg_is_decoded_at_half_size(make: Callable[[np.ndarray], bytes]) -> None:
    data = make(film(800, 700, bits=8))
    assert lattice(data) is not None
    difference = read_film(data, SETTINGS, 96, 80).pixels - read_film(data, FULL, 96, 80).pixels
    assert np.abs(difference).mean() < 0.0015


def test_film_with_8_of_16_bits_is_halved_like_a_film_of_8_bits() -> None:
    coarse, fine = (
        film(700, 610, bits=8),
        film(700, 610, bits=12),
    )  # halved, only the latter keeps enough pixels
    data = dicom(coarse, bits=8, elements={"BitsAllocated": 16})
    assert np.array_equal(read_film(data, SETTINGS, 96, 80).pixels, read_film(data, FULL, 96, 80).pixels)
    assert not np.array_equal(*(read_film(dicom(fine), way, 96, 80).pixels for way in (SETTINGS, FULL)))


def test_decode_plan_of_a_turned_film_is_that_of_the_upright_one() -> None:
    turned = np.ascontiguousarray(LARGE.T)
    elements = {"PatientOrientation": ["F", "L"]}
    image = read_film(dicom(turned, JPEG2000Lossless, elements=elements), SETTINGS, 96, 80)
    reference = read_film(dicom(LARGE, JPEG2000Lossless), SETTINGS, 96, 80)
    assert lattice(dicom(turned, JPEG2000Lossless, elements=elements)) is not None
    # The wavelet rounds differently along the other axis.
    assert np.abs(image.pixels - reference.pixels).mean() < 0.0005


NOT_REDUCED = {
    "small": dicom(film(180, 170), JPEG2000Lossless),
    "padding": dicom(LARGE, JPEG2000Lossless, elements={"PixelPaddingValue": 0}),
    "sign only in the header": dicom(LARGE, JPEG2000Lossless, elements={"PixelRepresentation": 1}),
    "colour": dicom(np.stack([LARGE >> 4] * 3, axis=2), JPEG2000Lossless, 8),
}


@pytest.mark.parametrize("data", NOT_REDUCED.values(), ids=NOT_REDUCED.keys())
def test_film_that_cannot_be_averaged_is_decoded_whole(data: bytes) -> None:
    assert lattice(data) is None
    difference = read_film(data, SETTINGS, 96, 80).pixels - read_film(data, FULL, 96, 80).pixels
    assert np.abs(difference).mean() < 0.002


def cut(kept: int) -> np.ndarray:
    pixels = LARGE.copy()
    pixels.ravel()[kept:] = 0
    return pixels


def dots() -> np.ndarray:
    pixels = np.full_like(LARGE, 700)
    pixels[::20, ::20] = 3000
    return pixels


BORDERLINE = {
    "cut with a step": dicom(cut(500 * 610 + 300), JPEG2000Lossless),
    "cut straight": dicom(cut(500 * 610), JPEG2000Lossless),
    "constant": dicom(np.full_like(LARGE, 7), JPEG2000Lossless),
    "constant but for dots": dicom(dots(), JPEG2000Lossless),
    "window with little contrast": dicom(LARGE, HTJ2K, elements={"WindowCenter": 2000, "WindowWidth": 17500}),
}


@pytest.mark.parametrize("data", BORDERLINE.values(), ids=BORDERLINE.keys())
def test_borderline_film_is_judged_by_the_whole_film(data: bytes) -> None:
    assert lattice(data) is not None
    try:
        expected = read_film(data, FULL, 96, 80)
    except FilmError as error:
        with pytest.raises(FilmError) as caught:
            read_film(data, SETTINGS, 96, 80)
        assert caught.value.reason is error.reason
        assert str(caught.value) == str(error)
    else:
        assert np.array_equal(read_film(data, SETTINGS, 96, 80).pixels, expected.pixels)


def test_negative_is_detected_on_the_reduced_film() -> None:
    image = read_film(dicom(4095 - LARGE, JPEG2000Lossless), SETTINGS, 96, 80)
    assert image.polarity_corrected


def test_decode_mode_changes_the_settings_digest() -> None:
    assert SETTINGS.read.decode is DecodeMode.PLAN
    assert FULL.digest() != SETTINGS.digest()
