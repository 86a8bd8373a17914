"""Choose what of a DICOM header is stored with a film: size, spacing, view, and pseudonymised identifiers."""

from __future__ import annotations

from typing import Final

from cxr_schemas import SourceFormat, View
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.dicom.file import DicomFile
from cxrlib.reading.dicom.header import FilmHeader
from cxrlib.reading.dicom.view import Projection
from cxrlib.reading.placement import UPRIGHT, Placement
from cxrlib.types import FilmFacts

_LARGEST_SPACING_MM: Final = 10.0
_VIEWS: Final = {Projection.PA: View.PA, Projection.AP: View.AP}


def facts_of(
    file: DicomFile, projection: Projection, placement: Placement, pseudonymiser: Pseudonymiser, *, inverted: bool
) -> FilmFacts:
    """Return the facts of a film; sizes and spacing are those of the upright film, after `placement`.

    `inverted` says whether the header declares the lowest stored value white (MONOCHROME1).
    """
    header = file.header
    size, spacing = (header.rows, header.columns), spacing_of(header)
    if placement.transpose:
        size = size[::-1]
        spacing = spacing[::-1] if spacing is not None else None
    return FilmFacts(
        source_format=SourceFormat.DICOM,
        rows=size[0],
        columns=size[1],
        spacing_mm=spacing,
        transfer_syntax=file.syntax,
        modality=header.modality.upper() if header.modality is not None else None,
        view=_VIEWS.get(projection, View.UNKNOWN),
        sop_instance_uid=pseudonymiser.uid(header.sop_instance_uid),
        series_instance_uid=pseudonymiser.uid(header.series_instance_uid),
        study_instance_uid=pseudonymiser.uid(header.study_instance_uid),
        patient_key=pseudonymiser.patient_key(header.patient_id),
        study_date=pseudonymiser.study_date(header.study_date, header.patient_id),
        mirrored=placement != UPRIGHT,
        inverted=inverted,
    )


def spacing_of(header: FilmHeader) -> tuple[float, float] | None:
    """Return the distance between rows and between columns in mm at the detector, or None where none is plausible.

    Estimated Radiographic Magnification Factor (0018,1114) is not divided out. It is an estimate for one plane of a
    body that is 20 cm deep. Few films state it, and areas of films with and without it could not be compared.
    """
    for spacing in header.spacings:
        if len(spacing) == 2 and all(0.0 < value <= _LARGEST_SPACING_MM for value in spacing):
            return spacing[0], spacing[1]
    return None
