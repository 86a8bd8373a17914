"""Small synthetic films with a study date, for tests that follow the pages."""

from __future__ import annotations

import io

import pydicom

from cxrlib.phantom.dicom_style import DicomStyle
from cxrlib.phantom.encode import encode_dicom
from cxrlib.phantom.film import make_phantom
from cxrlib.phantom.transfer_syntax import TransferSyntax


def dated_film(seed: int, date: str) -> bytes:
    """Return a phantom of 192 x 192 pixels as DICOM, with the study date ``YYYYMMDD``."""
    data = encode_dicom(make_phantom(seed, rows=192, columns=192), DicomStyle(TransferSyntax.EXPLICIT_LE))
    header = pydicom.dcmread(io.BytesIO(data))
    header.StudyDate = date
    written = io.BytesIO()
    header.save_as(written)
    return written.getvalue()
