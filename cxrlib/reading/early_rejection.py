"""Reject a DICOM film from its first bytes, so that its pixels are never fetched."""

from __future__ import annotations

from cxr_schemas import SourceFormat
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.eligibility import check_eligible
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.view import projection_of
from cxrlib.reading.file_type import detect_file_type
from cxrlib.settings import ReadSettings


def rejection_from_head(head: bytes, size: int, settings: ReadSettings) -> FilmError | None:
    """Return the error with which `cxrlib.reading.read_film` would reject a DICOM file of `size` bytes, or None.

    `head` is the beginning of the file. The result is None where the whole file must be read: it can be scored, it is
    no DICOM, or its header is longer than `head`. Only a complete header, up to Pixel Data, is judged, so that reason
    and message are those that the whole file would get.
    """
    try:
        if detect_file_type(head) is not SourceFormat.DICOM:
            return None
        file = open_dicom(head, settings.max_bytes)
    except FilmError:
        return None
    if file.pixels is None:
        return None
    try:
        check_eligible(file, projection_of(file.header), size, settings)
    except FilmError as error:
        return error
    return None
