"""Read a film: from the bytes of a DICOM, PNG or JPEG file to the image that the networks read.

The path of a film: `cxrlib.reading.file_type` detects what it is, `cxrlib.reading.dicom.film` or
`cxrlib.reading.raster` decodes it, `cxrlib.reading.display.image` displays it. Where to find what:

- MONOCHROME1 is inverted in `cxrlib.reading.display.grayscale`.
- A truncated file is rejected as TRUNCATED; `cxrlib.reading.truncation` says how this is detected.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import cv2

from cxr_schemas import Reason, SourceFormat
from cxrlib.errors import FilmError
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.dicom.film import read_dicom
from cxrlib.reading.display.image import to_image
from cxrlib.reading.file_type import detect_file_type
from cxrlib.reading.lattice import Grid
from cxrlib.reading.raster import read_jpeg, read_png
from cxrlib.reading.raw_image import RawImage
from cxrlib.reading.whole_film_checks import WholeFilmNeededError
from cxrlib.settings import DecodeMode, PrivacySettings, Settings
from cxrlib.types import CxrImage

#: A run has one privacy policy; only tests use several in one process.
_PSEUDONYMISERS_CACHED: Final = 8


def read_film(data: bytes, settings: Settings, rows: int, columns: int) -> CxrImage:
    """Read one film.

    Parameters
    ----------
    data : bytes
        The whole file. Its type (DICOM, PNG or JPEG) is detected from the content.
    settings : Settings
        Which films are accepted (`settings.read`) and what of the patient is stored (`settings.privacy`).
    rows, columns : int
        Size of the bundle's input. The whole film is averaged to it, each side separately, without padding. So one
        scale along each axis leads back to the source; the aspect ratio is not kept.

    Returns
    -------
    CxrImage
        Upright, float32 in [0, 1], white is dense.

    Raises
    ------
    FilmError
        The film cannot be scored. `reason` is any that bytes can show; an unforeseen error of a codec or parser is
        DECODER_FAILED, so that one film cannot fail a run.
    UsageError
        The privacy key cannot be read.
    MemoryError
        There is not enough memory for the film.

    Examples
    --------
    >>> from cxrlib.phantom import make_phantom
    >>> from cxrlib.phantom.dicom_style import DicomStyle
    >>> from cxrlib.phantom.encode import encode_dicom
    >>> from cxrlib.reading import read_film
    >>> from cxrlib.settings import Settings
    >>> data = encode_dicom(make_phantom(1, rows=256, columns=224), DicomStyle())
    >>> image = read_film(data, Settings(), 128, 128)
    >>> image.pixels.shape, image.pixels.dtype
    ((128, 128), dtype('float32'))
    >>> image.facts.rows, image.facts.columns, image.windowing.value
    (256, 224, 'window')

    A truncated file is rejected:

    >>> from cxrlib.errors import FilmError
    >>> try:
    ...     read_film(data[:-1000], Settings(), 128, 128)
    ... except FilmError as error:
    ...     print(error.reason.name)
    TRUNCATED
    """
    pseudonymiser = _pseudonymiser(settings.privacy)
    try:
        grid = Grid(rows, columns)
        if settings.read.decode is DecodeMode.PLAN:
            try:
                raw = read_raw(data, settings, pseudonymiser, grid)
                return to_image(raw, data, settings.read, grid, planned=True)
            except WholeFilmNeededError:
                pass
        return to_image(read_raw(data, settings, pseudonymiser), data, settings.read, grid, planned=False)
    except (FilmError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            raise MemoryError from error
        raise FilmError(
            Reason.DECODER_FAILED, expected="a film that can be read", got=f"an unforeseen {type(error).__name__}"
        ) from error


def read_raw(data: bytes, settings: Settings, pseudonymiser: Pseudonymiser, grid: Grid | None = None) -> RawImage:
    """Return the decoded film before it is displayed; at a reduced resolution if `grid` and the codec allow it.

    Other parameters and errors are those of `read_film`.
    """
    if len(data) > settings.read.max_bytes:
        raise FilmError(Reason.TOO_LARGE, expected=f"at most {settings.read.max_bytes} bytes", got=str(len(data)))
    match detect_file_type(data):
        case SourceFormat.DICOM:
            return read_dicom(data, settings.read, pseudonymiser, grid)
        case SourceFormat.PNG:
            return read_png(data, settings.read)
        case SourceFormat.JPEG:
            return read_jpeg(data, settings.read, grid)


@lru_cache(maxsize=_PSEUDONYMISERS_CACHED)
def _pseudonymiser(privacy: PrivacySettings) -> Pseudonymiser:
    return Pseudonymiser.of(privacy)
