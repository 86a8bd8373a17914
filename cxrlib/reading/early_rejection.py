"""What the first bytes of an object are enough for: to refuse it, so that its pixels are never fetched."""

from __future__ import annotations

from cxr_schemas import SourceFormat
from cxrlib.errors import FilmError
from cxrlib.reading.dicom.eligibility import refuse
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.file_type import sniff
from cxrlib.settings import ReadSettings


def refused_by_head(head: bytes, size: int, settings: ReadSettings) -> FilmError | None:
    """Return the refusal that `cxrlib.reading.read.read_film` would give a DICOM object of `size` bytes beginning
    with `head`.

    None where the whole object must be read: it is to be scored, it is no DICOM, or its header is longer than `head`.
    Only a header that is there to its end, up to Pixel Data, is judged, so that the reason and its message are those
    that the whole object would have had.
    """
    try:
        if sniff(head) is not SourceFormat.DICOM:
            return None
        file = open_dicom(head, settings.max_bytes)
    except FilmError:
        return None
    if file.pixels is None:
        return None
    try:
        refuse(file, size, settings)
    except FilmError as error:
        return error
    return None
