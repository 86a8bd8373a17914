"""The front of the library: the bytes of a film in, the image that the networks read out, or the reason why not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import lru_cache
from typing import Final

import cv2
import numpy as np

from cxr_schemas import Reason, SourceFormat
from cxrlib.errors import FilmError
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading import whole_film_checks
from cxrlib.reading.dicom.film import read_dicom
from cxrlib.reading.display import grayscale, polarity
from cxrlib.reading.file_type import sniff
from cxrlib.reading.lattice import Grid
from cxrlib.reading.orientation import upright
from cxrlib.reading.raster import read_jpeg, read_png
from cxrlib.reading.raw_image import RawImage
from cxrlib.reading.truncation import check_tail
from cxrlib.settings import Decode, PrivacySettings, Settings
from cxrlib.types import CxrImage

#: Settings that differ within one process are those of tests; a run has one.
_POLICIES_KEPT: Final = 8


def read_film(data: bytes, settings: Settings, rows: int, columns: int) -> CxrImage:
    """Read one film.

    Parameters
    ----------
    data : bytes
        The whole object: DICOM, PNG or JPEG, told by content.
    settings : Settings
        What is taken for a film (`settings.read`) and what of the patient is kept (`settings.privacy`).
    rows, columns : int
        Grid of the bundle's input. The whole film is averaged over areas onto it; aspect is not kept and nothing is
        padded, so the geometry back to the source is a scale along each axis.

    Returns
    -------
    CxrImage
        Upright, float32 in [0, 1], white is dense.

    Raises
    ------
    FilmError
        With every reason that can be told from bytes. Bytes that break a reader in a way that nobody foresaw are
        DECODER_FAILED: one film must not cost a run.
    UsageError
        Where the privacy key cannot be read.
    MemoryError
        Where there is no room for the film.
    """
    pseudonymiser = _pseudonymiser(settings.privacy)
    try:
        grid = Grid(rows, columns)
        if settings.read.decode is Decode.PLAN:
            try:
                return _to_image(read_raw(data, settings, pseudonymiser, grid), data, settings, grid, planned=True)
            except whole_film_checks.WholeFilmNeededError:
                pass
        return _to_image(read_raw(data, settings, pseudonymiser), data, settings, grid, planned=False)
    except (FilmError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise FilmError(
            Reason.DECODER_FAILED, expected="a film that can be read", got=f"an unforeseen {type(error).__name__}"
        ) from error


def read_raw(data: bytes, settings: Settings, pseudonymiser: Pseudonymiser, grid: Grid | None = None) -> RawImage:
    """Return the decoded film before it is displayed, reduced as far as `grid` (if given) and its codec allow.

    Other parameters and errors are those of `read_film`.
    """
    if len(data) > settings.read.max_bytes:
        raise FilmError(Reason.TOO_LARGE, expected=f"at most {settings.read.max_bytes} bytes", got=str(len(data)))
    match sniff(data):
        case SourceFormat.DICOM:
            return read_dicom(data, settings.read, pseudonymiser, grid)
        case SourceFormat.PNG:
            return read_png(data, settings.read)
        case SourceFormat.JPEG:
            return read_jpeg(data, settings.read, grid)


def _to_image(raw: RawImage, data: bytes, settings: Settings, grid: Grid, *, planned: bool) -> CxrImage:
    if raw.lattice is None:
        check_tail(raw.pixels)
    else:
        whole_film_checks.check_foot(raw.pixels)
    stored = grid.turned() if raw.placement.transpose else grid
    grey = grayscale.to_grey(raw, stored.rows, stored.columns, settings.read.window_percentiles, planned=planned)
    pixels = upright(grey.pixels, raw.placement)
    negative = settings.read.fix_polarity and polarity.is_negative(pixels, whole=not planned)
    if negative:
        pixels = np.float32(1.0) - pixels
    return CxrImage(
        pixels=pixels,
        facts=replace(raw.facts),
        content_digest=hashlib.sha256(data).hexdigest(),
        windowing=grey.windowing,
        clipped_fraction=float(np.count_nonzero((pixels <= 0.0) | (pixels >= 1.0))) / pixels.size,
        polarity_corrected=bool(negative),
    )


@lru_cache(maxsize=_POLICIES_KEPT)
def _pseudonymiser(privacy: PrivacySettings) -> Pseudonymiser:
    return Pseudonymiser.of(privacy)
