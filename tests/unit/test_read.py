"""From bytes to the image that the networks read: geometry, repeatability, and no way to crash it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from cxrlib.display import TOLERANCE
from cxrlib.errors import FilmError
from cxrlib.read import read_film
from cxrlib.settings import ReadSettings, Settings
from schemas import Windowing
from tests.corpus.film_maker import dicom, film, jpeg, png

SETTINGS = Settings()
FILM = film(200, 160)


def test_image_covers_the_whole_film_on_the_grid_asked_for() -> None:
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
def test_negative_under_a_false_tag_is_put_right_unless_the_setting_forbids_it(make: object) -> None:
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
def test_damaged_bytes_give_an_image_or_a_foreseen_reason(form: str, data: st.DataObject) -> None:
    whole = bytearray(FORMS[form])
    for _ in range(data.draw(st.integers(1, 6))):
        # Half of the damage goes where the structure is: headers and ends.
        near = data.draw(st.sampled_from([min(1500, len(whole)), len(whole)]))
        whole[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(whole), data.draw(st.integers(0, len(whole)))]))
    try:
        image = read_film(bytes(whole[:end]), SETTINGS, 32, 32)
    except FilmError as error:
        assert "unforeseen" not in str(error)
        assert not error.retryable
    else:
        assert np.isfinite(image.pixels).all()
        assert image.pixels.shape == (32, 32)
