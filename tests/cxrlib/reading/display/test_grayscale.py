"""The grayscale pipeline gives the same as the formulas of the standard, applied in their order."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_schemas import Reason, SourceFormat, Windowing
from cxrlib.errors import FilmError
from cxrlib.reading.display.grayscale import TOLERANCE, to_grey
from cxrlib.reading.display.luts import LookupTable
from cxrlib.reading.display.windows import Window, WindowFunction, apply_window
from cxrlib.reading.lattice import Kernel, Lattice
from cxrlib.reading.placement import Placement
from cxrlib.reading.raw_image import Display, RawImage
from cxrlib.reading.whole_film_checks import WholeFilmNeededError
from cxrlib.types import FilmFacts
from tests.support.film_files import film

PERCENTILES = (0.5, 99.5)
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def raw(pixels: np.ndarray, display: Display) -> RawImage:
    return RawImage(
        pixels, 8 * pixels.dtype.itemsize, display, Placement(), FilmFacts(SourceFormat.DICOM, *pixels.shape)
    )


def shown(pixels: np.ndarray, display: Display) -> np.ndarray:
    """Return every pixel in grey, without a resize."""
    return to_grey(raw(pixels, display), *pixels.shape, PERCENTILES).pixels


def windowing(display: Display) -> Windowing:
    return to_grey(raw(RAMP, display), *RAMP.shape, PERCENTILES).windowing


def test_linear_window_is_the_formula_of_the_standard() -> None:
    # PS3.3 C.11.2.1.2: c = 2048, w = 4096 maps 0 to black and 4095 to white.
    grey = shown(RAMP, Display(window=Window(2048, 4096)))
    assert grey[0, 0] == 0 and grey[-1, -1] == 1
    assert grey[32, 0] == pytest.approx(2048 / 4095, abs=TOLERANCE)


def test_rescale_comes_before_the_window() -> None:
    window = Window(1000, 2000, WindowFunction.LINEAR_EXACT)
    grey = shown(RAMP, Display(slope=0.5, intercept=-24, window=window))
    assert grey.ravel()[2048] == pytest.approx(0.5, abs=TOLERANCE)


def test_modality_lut_replaces_the_rescale_and_repeats_its_ends() -> None:
    table = LookupTable(1000, np.arange(2000, dtype=np.float64)[::-1], 12)
    grey = shown(RAMP, Display(slope=99, modality_lut=table, window=Window(1000, 2000, WindowFunction.LINEAR_EXACT)))
    flat = grey.ravel()
    assert flat[0] == flat[1000] == pytest.approx(1999 / 2000, abs=TOLERANCE)
    assert flat[4095] == flat[2999] == 0


def test_voi_lut_takes_precedence_over_a_window_and_is_scaled_by_its_bits() -> None:
    table = LookupTable(0, np.sqrt(np.arange(4096.0) / 4095) * 255, 8)
    display = Display(voi_lut=table, window=Window(2048, 4096))
    assert windowing(display) is Windowing.VOI_LUT
    assert shown(RAMP, display).ravel()[1024] == pytest.approx(np.sqrt(1024 / 4095), abs=0.003)


def test_inversion_comes_last() -> None:
    display = Display(window=Window(1000, 500))
    inverted = Display(window=Window(1000, 500), inverse=True)
    assert np.allclose(shown(RAMP, inverted), 1 - shown(RAMP, display), atol=TOLERANCE)


@pytest.mark.parametrize(
    "window",
    [Window(2048, 0), Window(2048, -100), Window(60000, 100), Window(-5000, 10), Window(2048, 1e9)],
    ids=["zero width", "negative width", "all black", "all white", "all one grey"],
)
def test_window_without_contrast_is_replaced_by_percentiles(window: Window) -> None:
    assert windowing(Display(window=window)) is Windowing.PERCENTILE
    assert shown(RAMP, Display(window=window)).std() > 0.25


def test_voi_lut_without_contrast_is_replaced_by_the_window() -> None:
    flat = LookupTable(0, np.zeros(4096), 8)
    assert windowing(Display(voi_lut=flat, window=Window(2048, 4096))) is Windowing.WINDOW


def test_percentiles_are_used_if_the_header_has_no_window() -> None:
    grey = shown(RAMP, Display())
    assert windowing(Display()) is Windowing.PERCENTILE
    assert (grey == 0).mean() == pytest.approx(0.005, abs=0.001)
    assert (grey == 1).mean() == pytest.approx(0.005, abs=0.001)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_range_from_0_to_100_percent_is_that_of_the_pixels(dtype: type) -> None:
    """And not that of their type."""
    pixels = (RAMP // 4 + 1000).astype(dtype)
    grey = to_grey(raw(pixels, Display()), *pixels.shape, (0.0, 100.0)).pixels
    assert grey.ravel()[0] == 0 and grey.ravel()[-1] == 1
    assert np.median(grey) == pytest.approx(0.5, abs=0.001)


@pytest.mark.parametrize("inverse", [False, True])
def test_padding_is_black_and_does_not_move_the_percentiles(inverse: bool) -> None:
    padded = np.pad(RAMP, ((0, 0), (0, 64)), constant_values=60000)
    grey = shown(padded, Display(padding=(60000, 60000), inverse=inverse))
    assert (grey[:, 64:] == 0).all()
    assert np.array_equal(grey[:, :64], shown(RAMP, Display(inverse=inverse)))


def test_range_of_padding_values_is_black() -> None:
    padded = np.pad(RAMP, ((0, 0), (0, 64)), constant_values=50000)
    padded[::2, 64:] = 51000
    assert (shown(padded, Display(padding=(50000, 51000)))[:, 64:] == 0).all()


def test_padding_value_that_covers_the_whole_film_is_ignored() -> None:
    assert shown(RAMP, Display(padding=(0, 4095))).std() > 0.25


def test_signed_pixels_display_like_unsigned_ones_shifted_by_a_constant() -> None:
    signed = RAMP.astype(np.int16) - 2048
    assert np.array_equal(
        shown(signed, Display(window=Window(0, 4096))), shown(RAMP, Display(window=Window(2048, 4096)))
    )


@pytest.mark.parametrize("share", [1.0, 0.998])
def test_film_of_one_value_is_constant(share: float) -> None:
    pixels = np.full(100_000, 7, np.uint16)
    pixels[int(share * len(pixels)) :] = 900
    with pytest.raises(FilmError) as caught:
        shown(pixels.reshape(250, 400), Display())
    assert caught.value.reason is Reason.CONSTANT


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    # With a higher centre, the narrowest window would show less than a tenth of these films' range and be ignored.
    st.builds(Window, st.floats(500, 3300), st.floats(1500, 6000), st.sampled_from(list(WindowFunction))),
    st.booleans(),
    st.tuples(st.integers(20, 90), st.integers(20, 90)),
)
def test_table_then_average_equals_the_pipeline_in_float64(
    seed: int, window: Window, inverse: bool, size: tuple[int, int]
) -> None:
    noise = np.random.default_rng(seed).integers(0, 501, (97, 91))
    # Noise alone would average to one grey, so a seventh of the film is at either end of its range.
    pixels = (3594 * np.clip(np.linspace(-0.2, 1.2, 91), 0, 1) + noise).astype(np.uint16)
    display = Display(slope=0.7, intercept=30, window=window, inverse=inverse)
    grey = apply_window(pixels * 0.7 + 30.0, window)
    expected = cv2.resize(1 - grey if inverse else grey, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(to_grey(raw(pixels, display), *size, PERCENTILES).pixels - expected).max() <= TOLERANCE


@pytest.mark.parametrize("size", [(32, 32), (64, 128), (200, 40), (300, 300)])
def test_result_has_the_requested_size(size: tuple[int, int]) -> None:
    grey = to_grey(raw(RAMP, Display()), *size, PERCENTILES).pixels
    assert grey.shape == size
    assert grey.dtype == np.float32


def planned(pixels: np.ndarray, display: Display, size: tuple[int, int] = (64, 48)) -> tuple[np.ndarray, np.ndarray]:
    """Return the film as displayed after halving, and without halving."""
    return tuple(  # type: ignore[return-value]
        to_grey(raw(pixels, display), *size, PERCENTILES, planned=way).pixels for way in (True, False)
    )


WINDOWS = {
    "percentiles": Display(),
    "window": Display(window=Window(2000, 3000)),
    "sigmoid": Display(window=Window(2000, 3000, WindowFunction.SIGMOID), inverse=True),
    "tables": Display(voi_lut=LookupTable(0, np.sqrt(np.arange(4096.0) / 4095) * 4095, 12)),
}


@pytest.mark.parametrize("display", WINDOWS.values(), ids=WINDOWS.keys())
@pytest.mark.parametrize("size", [(700, 560), (701, 563)])
def test_film_halved_first_displays_nearly_the_same(size: tuple[int, int], display: Display) -> None:
    fast, plain = planned(film(*size), display)
    assert not np.array_equal(fast, plain)
    assert np.abs(fast - plain).max() < 0.008
    assert np.abs(fast - plain).mean() < 0.0015
    assert abs((fast - plain).mean()) < 0.0005


def test_values_that_no_fourth_row_has_are_displayed() -> None:
    pixels = film(700, 560) // 4
    pixels[2::4] *= 4
    pixels[3::4] *= 4
    fast, plain = planned(pixels, Display(window=Window(2048, 4096)), (350, 280))
    assert pixels[::4].max() < 1100 < pixels.max() and fast.max() > 0.5
    assert np.abs(fast - plain).max() < 0.008


def test_signed_film_is_halved_like_the_unsigned_one() -> None:
    pixels = film(700, 560)
    signed, _ = planned(pixels.astype(np.int16) - 2048, Display(window=Window(0, 4096)))
    unsigned, _ = planned(pixels, Display(window=Window(2048, 4096)))
    assert np.abs(signed - unsigned).max() < 0.0005


@pytest.mark.parametrize(
    ("pixels", "display"),
    [
        (film(200, 190), Display()),
        (film(700, 560), Display(padding=(0, 0))),
        (film(700, 560, bits=8).astype(np.uint8).view(np.int8), Display()),
    ],
    ids=["small", "padding", "signed bytes"],
)
def test_film_that_must_not_be_halved_displays_the_same(pixels: np.ndarray, display: Display) -> None:
    fast, plain = planned(pixels, display)
    assert np.array_equal(fast, plain)


@pytest.mark.parametrize(("each", "constant"), [(15, True), (10, False)])
def test_film_that_may_be_constant_is_judged_unhalved(each: int, constant: bool) -> None:
    pixels = np.full((700, 560), 7, np.uint16)
    pixels[::each, ::each] = 900  # of all pixels 0.4 % or 1 %, and alike in each area
    reduced = replace(raw(pixels, Display()), pixels=pixels[::2, ::2], lattice=Lattice(700, 560, 1, Kernel.BLOCK))
    with pytest.raises(WholeFilmNeededError):
        to_grey(reduced, 64, 48, PERCENTILES)
    with pytest.raises(FilmError) if constant else nullcontext():
        planned(pixels, Display())


def test_film_of_one_grey_after_averaging_is_constant() -> None:
    pixels = np.indices((256, 256)).sum(axis=0) % 2 * np.uint16(4000)
    with pytest.raises(FilmError) as caught:
        to_grey(raw(pixels.astype(np.uint16), Display()), 32, 32, PERCENTILES)
    assert caught.value.reason is Reason.CONSTANT
    assert "areas" in str(caught.value)


def test_grain_that_halving_smooths_does_not_move_the_grey_range() -> None:
    """1 % of the pixels are white, so a percentile of pixels is too; hardly any of their means is."""
    pixels = film(700, 560)
    pixels[np.random.default_rng(0).random(pixels.shape) < 0.01] = 65535
    fast, plain = planned(pixels, Display(), (175, 140))  # areas of whole blocks, so that halving loses nothing else
    assert np.abs(fast - plain).max() < 0.001
    assert plain.mean() > 0.2


def test_padding_within_a_cell_counts_as_black() -> None:
    """A cell that is half film is half as bright as the film beside it."""
    padded = np.tile(np.repeat(np.arange(64, dtype=np.uint16) * 64, 8), (64, 1))
    padded[:, -4:] = 60000
    grey = to_grey(raw(padded, Display(padding=(60000, 60000))), 64, 64, (0.0, 100.0)).pixels
    assert grey[0, :63] == pytest.approx(np.arange(63) / 63, abs=TOLERANCE)
    assert grey[0, 63] == pytest.approx(0.5, abs=TOLERANCE)


def test_modality_lut_is_applied_before_the_percentiles() -> None:
    table = LookupTable(0, np.arange(4096.0)[::-1] ** 2, 16)
    grey = shown(RAMP, Display(modality_lut=table))
    assert windowing(Display(modality_lut=table)) is Windowing.PERCENTILE
    low, high = np.quantile(table.values, [0.005, 0.995], method="inverted_cdf")
    expected = np.clip((table.values - low) / (high - low), 0, 1)
    assert grey.ravel() == pytest.approx(expected, abs=TOLERANCE)
