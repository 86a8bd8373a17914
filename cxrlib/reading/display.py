"""From stored values to grey: the DICOM grayscale pipeline as one lookup table.

Modality LUT or rescale, then VOI LUT or window, then inversion (DICOM PS3.3 C.11.1, C.11.2, C.7.6.3.1.2, C.11.6). All
of it maps one stored value to one grey, and stored values have 16 bits at most, so the whole pipeline is worked out
once for each possible value in float64, kept in 65,536 steps, and applied by a table. The film is then averaged over
areas in those steps. That is window first and resize second, as it should be, without a floating-point copy of the
film: the result differs from the same done in float64 by less than `TOLERANCE`.

A film at a reduced resolution, by its codec or by `halving`, is looked up as it is and then averaged by its lattice.
Its noise is smoothed already, so that the extremes of its grey are milder: where the whole film is at hand, the values
are counted on every fourth row of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from cxrlib.errors import FilmError
from cxrlib.reading.doubt import WholeFilmNeededError
from cxrlib.reading.halving import can_be_halved, halve
from cxrlib.reading.lattice import Grid, Lattice
from cxrlib.reading.resample import resize
from cxrlib.types import Display, LookupTable, RawImage, Window, WindowFunction
from schemas import Reason, Windowing

#: Largest difference in [0, 1] from the pipeline in float64: half a step of the table, half a step of the average.
TOLERANCE: Final = 2 / 65535

_STEPS: Final = 65535

#: A window is kept only if the central 90 % of the film spans this much of the grey scale after it.
LEAST_SPAN: Final = 0.1

#: A film is constant where one value has more than this share of the pixels that are not padding.
CONSTANT_SHARE: Final = 0.995

#: Of the whole film, each such row is counted where it is halved.
_COUNTED_ROWS: Final = 4

#: A reduced film whose central 90 % spans less than this share of its range may be constant as a whole.
_NARROW: Final = 0.02

#: A reduced film's span after a window may be wrong by this factor at most: it is nearly always within a hundredth.
_SPAN_FACTOR: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Grey:
    """A film in grey.

    Attributes
    ----------
    pixels : float32 array, rows x columns as asked for
        In [0, 1]; white is dense if the header is right. Not turned yet.
    windowing : Windowing
        Which of the three ways was taken.
    """

    pixels: NDArray[np.float32]
    windowing: Windowing


def to_grey(raw: RawImage, rows: int, columns: int, percentiles: tuple[float, float], *, planned: bool = False) -> Grey:
    """Display `raw` and average it down to `rows` x `columns`.

    Parameters
    ----------
    raw : RawImage
    rows, columns : int
        Size of the result in the layout in which the film is stored, that is before it is turned.
    percentiles : tuple of float
        Grey range, in percent of the pixels that are not padding, where no window of the header will do.
    planned : bool
        Halve the film first where it keeps enough for the result.

    Raises
    ------
    FilmError
        CONSTANT where the film has, to all intents, one value.
    WholeFilmNeededError
        Where `raw` is reduced and near to a bound at which the whole film might be judged otherwise.
    """
    grid = Grid(rows, columns)
    pixels, lattice = raw.pixels, raw.lattice
    if planned and _is_to_be_halved(raw, grid):
        small, lattice = halve(pixels)
        table, windowing = grey_table(pixels[::_COUNTED_ROWS], raw.display, percentiles, lattice, small)
        return Grey(_averaged(small, table, lattice, grid), windowing)
    table, windowing = grey_table(pixels, raw.display, percentiles, lattice)
    return Grey(_averaged(pixels, table, lattice, grid), windowing)


def _is_to_be_halved(raw: RawImage, grid: Grid) -> bool:
    """Return whether the whole film is there, with pixels to spare, and a mean of stored values is one: no padding."""
    whole = raw.lattice is None and can_be_halved(raw.pixels)
    return whole and raw.display.padding is None and grid.spare_level(*raw.pixels.shape) > 0


def _averaged(
    pixels: NDArray[np.integer], table: NDArray[np.uint16], lattice: Lattice | None, grid: Grid
) -> NDArray[np.float32]:
    shown = np.asarray(cv2.LUT(_indices(pixels), table), dtype=np.uint16)
    steps = resize(shown, grid.rows, grid.columns) if lattice is None else np.rint(lattice.average(shown, grid))
    averaged: NDArray[np.float32] = steps.astype(np.float32) / np.float32(_STEPS)
    return averaged


def grey_table(
    pixels: NDArray[np.integer],
    display: Display,
    percentiles: tuple[float, float],
    lattice: Lattice | None = None,
    shown: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.uint16], Windowing]:
    """Return the grey, 0 to 65535, of each stored value (by its bits read as unsigned), and how it was made.

    `lattice` is that of the pixels to be shown where they are a reduced film. `pixels` are these, or a share of the
    whole film's; then those to be shown are given too, as `shown`. Parameters and errors are else those of `to_grey`.
    Beyond the largest value of either, which films of 12 bits have far below the end of the table, it is 0.
    """
    whole = lattice is None
    unsigned = np.dtype(f"u{pixels.dtype.itemsize}")
    table = np.zeros(256**unsigned.itemsize, np.uint16)
    counts = _count(_indices(pixels), len(table))
    levels = 1 + max(int(np.flatnonzero(counts)[-1]), 0 if shown is None else int(_indices(shown).max()))
    counts = counts[:levels]
    stored = np.arange(levels).astype(unsigned).view(pixels.dtype)
    padding = _padding_mask(stored, display.padding)
    if counts[~padding].sum() > 0:
        counts[padding] = 0
    else:  # a padding value that would leave nothing of the film is no padding value
        padding[:] = False
    if whole:
        _refuse_constant(counts)
    else:
        _doubt_narrow(stored.astype(np.float64), counts)
    excess = 0.0 if lattice is None else lattice.excess
    values = _modality(stored.astype(np.float64) - excess, display)
    grey, windowing = _voi(values, counts, display, percentiles, whole)
    if display.inverse:
        grey = 1.0 - grey
    grey[padding] = 0.0
    table[:levels] = np.rint(grey * _STEPS)
    return table, windowing


def apply_window(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    """Return `values` windowed to [0, 1] (DICOM PS3.3 C.11.2.1.2 linear, C.11.2.1.3.1 sigmoid, C.11.2.1.3.2 exact)."""
    center, width = window.center, window.width
    match window.function:
        case WindowFunction.LINEAR:
            span = max(width - 1.0, 1e-9)  # a width of 1 is a threshold
            grey = (values - (center - 0.5)) / span + 0.5
        case WindowFunction.LINEAR_EXACT:
            grey = (values - center) / width + 0.5
        case WindowFunction.SIGMOID:
            # Beyond 700 the exponential overflows; the grey is 0 or 1 long before.
            grey = 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0)))
    clipped: NDArray[np.float64] = np.clip(grey, 0.0, 1.0)
    return clipped


def apply_lut(values: NDArray[np.float64], lut: LookupTable) -> NDArray[np.float64]:
    """Return the entry for each of `values`, held at both ends (DICOM PS3.3 C.11.1.1.1)."""
    index = np.clip(np.rint(values) - lut.first, 0, len(lut.values) - 1).astype(np.int64)
    entries: NDArray[np.float64] = lut.values[index]
    return entries


def _modality(stored: NDArray[np.float64], display: Display) -> NDArray[np.float64]:
    if display.modality_lut is not None:
        return apply_lut(stored, display.modality_lut)
    return stored * display.slope + display.intercept


def _voi(
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    display: Display,
    percentiles: tuple[float, float],
    whole: bool,
) -> tuple[NDArray[np.float64], Windowing]:
    if display.voi_lut is not None:
        grey = apply_lut(values, display.voi_lut) / (2.0**display.voi_lut.bits - 1.0)
        if _shows_the_film(grey, counts, whole):
            return np.clip(grey, 0.0, 1.0), Windowing.VOI_LUT
    window = display.window
    if window is not None and window.width > 0 and not (window.function is WindowFunction.LINEAR and window.width < 1):
        grey = apply_window(values, window)
        if _shows_the_film(grey, counts, whole):
            return grey, Windowing.WINDOW
    low, high = (_percentile(values, counts, percent) for percent in percentiles)
    if low == high:
        met = values[counts > 0]
        low, high = float(met.min()), float(met.max())
    return np.clip((values - low) / (high - low), 0.0, 1.0), Windowing.PERCENTILE


def _shows_the_film(grey: NDArray[np.float64], counts: NDArray[np.int64], whole: bool) -> bool:
    span = _central_span(grey, counts)
    if not whole and LEAST_SPAN / _SPAN_FACTOR <= span <= LEAST_SPAN * _SPAN_FACTOR:
        raise WholeFilmNeededError
    return span >= LEAST_SPAN


def _central_span(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return what the central 90 % of the pixels span."""
    return _percentile(values, counts, 95.0) - _percentile(values, counts, 5.0)


def _percentile(values: NDArray[np.float64], counts: NDArray[np.int64], percent: float) -> float:
    """Return the least value that a pixel has with `percent` of them at or below it (the inverse distribution)."""
    met = np.flatnonzero(counts)
    values, counts = values[met], counts[met]
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(counts[order])
    at = int(np.searchsorted(reached, percent / 100.0 * reached[-1], side="left"))
    return float(values[order[min(at, len(order) - 1)]])


def _indices(pixels: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
    """Return the bits of stored values read as unsigned; rows may lie apart, as OpenCV can read them."""
    if pixels.strides[1] != pixels.dtype.itemsize:
        pixels = np.ascontiguousarray(pixels)
    return pixels.view(np.uint8 if pixels.dtype.itemsize == 1 else np.uint16)


def _count(pixels: NDArray[np.unsignedinteger], levels: int) -> NDArray[np.int64]:
    """Return the number of pixels of each value. OpenCV counts in integers and is five times as fast as bincount."""
    return cv2.calcHist([pixels], [0], None, [levels], [0, levels]).ravel().astype(np.int64)


def _padding_mask(stored: NDArray[np.integer], padding: tuple[int, int] | None) -> NDArray[np.bool_]:
    if padding is None:
        return np.zeros(len(stored), dtype=np.bool_)
    low, high = padding
    return (stored >= low) & (stored <= high)


def _doubt_narrow(stored: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
    met = stored[counts > 0]
    if _central_span(stored, counts) <= _NARROW * float(met.max() - met.min()):
        raise WholeFilmNeededError


def _refuse_constant(counts: NDArray[np.int64]) -> None:
    total = int(counts.sum())
    share = int(counts.max()) / total
    if share > CONSTANT_SHARE:
        raise FilmError(
            Reason.CONSTANT, expected="an image of many grey values", met=f"one value in {share:.1%} of {total} pixels"
        )
