"""The projection of a film: frontal or not, PA or AP, from whatever part of the header says it first.

In order: View Position (0018,5101), View Code Sequence (0054,0220), Patient Orientation (0020,0020), and last the
words of two descriptions, which are read and never kept. The first that says anything decides, so that a careless
description cannot overrule a coded view.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Final

from cxr_schemas import View
from cxrlib.reading.dicom.header import Header


class _Projection(Enum):
    PA = "pa"
    AP = "ap"
    FRONTAL = "frontal"
    OTHER = "other"


#: View Position of DICOM PS3.3 C.8.7.1.1 and C.8.11.5; decubitus films lie on their side and are not plain frontals.
_LATERAL_POSITIONS: Final = frozenset(
    ["LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "LPO", "RAO", "RPO", "LM", "ML", "LLAT", "RLAT"]
)
_LATERAL_WORDS: Final = re.compile(
    r"\b(LAT|LATERAL|LATERALE|LATERALIS|LATERALER|LATERAAL|SEITLICH\w*|PROFIL|PROFILE|PERFIL|OBL|OBLIQUE|DECUB\w*)\b"
)
_FRONTAL_WORDS: Final = re.compile(r"\b(PA|AP|FRONTAL|FRENTE|FACE)\b")
_DESCRIPTIONS: Final = ("SeriesDescription", "AcquisitionDeviceProcessingDescription")


def view_of(header: Header) -> View:
    """Return PA, AP, or unknown where the header says neither."""
    projection = _projection(header)
    if projection is _Projection.PA:
        return View.PA
    return View.AP if projection is _Projection.AP else View.UNKNOWN


def is_frontal(header: Header) -> bool:
    """Return whether nothing in the header says that the film is lateral, oblique or decubitus."""
    return _projection(header) is not _Projection.OTHER


def _projection(header: Header) -> _Projection | None:
    for source in (_from_position, _from_codes):
        projection = source(header)
        if projection is not None:
            return projection
    if _runs_sideways(header):
        return _Projection.OTHER
    return _from_words(header)


def _from_position(header: Header) -> _Projection | None:
    position = (header.text("ViewPosition") or "").upper()
    return _read(position, set(re.findall(r"[A-Z]+", position)) & _LATERAL_POSITIONS)


def _from_words(header: Header) -> _Projection | None:
    text = " ".join(header.text(keyword) or "" for keyword in _DESCRIPTIONS).upper().replace("_", " ")
    return _read(text, set())


def _read(text: str, lateral: set[str]) -> _Projection | None:
    """Return what free text says; "PA and LAT" names a study of two views and says nothing of this one."""
    frontal = {str(word) for word in _FRONTAL_WORDS.findall(text)}
    sideways = bool(lateral) or _LATERAL_WORDS.search(text) is not None
    if frontal and sideways:
        return None
    if sideways:
        return _Projection.OTHER
    if frontal == {"PA"}:
        return _Projection.PA
    if frontal == {"AP"}:
        return _Projection.AP
    return _Projection.FRONTAL if frontal else None


def _from_codes(header: Header) -> _Projection | None:
    for item in header.items("ViewCodeSequence"):
        value = item.text("CodeValue") or ""
        projection = _coded_views().get(_SRT.get(value, value))
        if projection is not None:
            return projection
        projection = _read((item.text("CodeMeaning") or "").upper(), set())
        if projection is not None:
            return projection
    return None


def _runs_sideways(header: Header) -> bool:
    """Return whether Patient Orientation spans the sagittal plane: front and back along one axis of the image."""
    axes = [each[:1].upper() for each in header.texts("PatientOrientation")]
    return len(axes) == 2 and any(axis in ("A", "P") for axis in axes) and any(axis in ("H", "F") for axis in axes)


#: SNOMED-RT values of older files for the concepts told apart here (PS3.16 Annex D and CID 4010 of its time).
_SRT: Final = {
    "R-10206": "399348003",
    "R-10214": "272479007",
    "R-40888": "272479007",
    "R-10202": "399033003",
    "R-102CD": "399067008",
    "R-10236": "399173006",
    "R-10232": "399198007",
}


@cache
def _coded_views() -> dict[str, _Projection]:
    """Return DICOM PS3.16 CID 4010 "DX View", each SNOMED CT value with what it means for a chest film."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - takes a third of a second, and few films are coded so

    named = {"AnteroPosterior": _Projection.AP, "PosteroAnterior": _Projection.PA, "Frontal": _Projection.FRONTAL}
    views = codes.cid4010
    return {getattr(views, name).value: named.get(name, _Projection.OTHER) for name in views.dir()}
