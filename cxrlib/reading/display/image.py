"""Make the image that the networks read from a decoded film: check it, display it, turn it upright, fix its polarity.

The steps, in this order, and the modules that do them:

1. Reject a truncated film: `cxrlib.reading.truncation`.
2. Apply LUTs or window, invert MONOCHROME1, average to the grid: `cxrlib.reading.display.grayscale`.
3. Turn the film upright: `cxrlib.reading.placement`.
4. Invert a negative whose header does not say so: `cxrlib.reading.display.polarity`.
"""

from __future__ import annotations

import hashlib

import numpy as np

from cxrlib.reading import whole_film_checks
from cxrlib.reading.display import polarity
from cxrlib.reading.display.grayscale import to_grey
from cxrlib.reading.lattice import Grid
from cxrlib.reading.placement import upright
from cxrlib.reading.raw_image import RawImage
from cxrlib.reading.truncation import check_truncation
from cxrlib.settings import ReadSettings
from cxrlib.types import CxrImage


def to_image(raw: RawImage, data: bytes, settings: ReadSettings, grid: Grid, *, planned: bool) -> CxrImage:
    """Return the image of a film.

    Parameters
    ----------
    raw : RawImage
    data : bytes
        The source, for its digest.
    settings : ReadSettings
    grid : Grid
        Size of the upright image.
    planned : bool
        Follow the decode plan: halve the film before display if it keeps enough pixels, and raise
        WholeFilmNeededError where a reduced film cannot be judged.

    Raises
    ------
    FilmError
        TRUNCATED or CONSTANT.
    WholeFilmNeededError
        The film was reduced and is too close to a limit of any of the checks.
    """
    if raw.lattice is None:
        check_truncation(raw.pixels)
    else:
        whole_film_checks.check_reduced_truncation(raw.pixels)
    stored_grid = grid.turned() if raw.placement.transpose else grid
    grey = to_grey(raw, stored_grid.rows, stored_grid.columns, settings.window_percentiles, planned=planned)
    pixels = upright(grey.pixels, raw.placement)
    negative = settings.fix_polarity and polarity.is_negative(pixels, whole=not planned)
    if negative:
        pixels = np.float32(1.0) - pixels
    return CxrImage(
        pixels=pixels,
        facts=raw.facts,
        content_digest=hashlib.sha256(data).hexdigest(),
        windowing=grey.windowing,
        clipped_fraction=float(np.count_nonzero((pixels <= 0.0) | (pixels >= 1.0))) / pixels.size,
        polarity_corrected=bool(negative),
    )
