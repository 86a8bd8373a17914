"""Detect the projection of a film: frontal or not, PA or AP.

The first of these that says anything decides, so that a careless description cannot overrule a coded view:

1. View Position (0018,5101)
2. View Code Sequence (0054,0220)
3. Patient Orientation (0020,0020), which shows that a film is lateral
4. the text of Series Description and Acquisition Device Processing Description, which is read but never stored
"""

from __future__ import annotations

import re
from enum import Enum
from functools import cache
from typing import Final

from cxrlib.reading.dicom.header import FilmHeader


class Projection(Enum):
    """How a film was taken, as far as its header says; `OTHER` is lateral, oblique or decubitus."""

    PA = "pa"
    AP = "ap"
    FRONTAL = "frontal"
    OTHER = "other"
    UNKNOWN = "unknown"


#: View Position of DICOM PS3.3 C.8.7.1.1 and C.8.11.5. Decubitus films are excluded like lateral ones.
_LATERAL_POSITIONS: Final = frozenset(
    ["LL", "RL", "LLD", "RLD", "LLO", "RLO", "LAO", "LPO", "RAO", "RPO", "LM", "ML", "LLAT", "RLAT"]
)
_LATERAL_WORDS: Final = re.compile(
    r"\b(LAT|LATERAL|LATERALE|LATERALIS|LATERALER|LATERAAL|SEITLICH\w*|PROFIL|PROFILE|PERFIL|OBL|OBLIQUE|DECUB\w*)\b"
)
_FRONTAL_WORDS: Final = re.compile(r"\b(PA|AP|FRONTAL|FRENTE|FACE)\b")


def projection_of(header: FilmHeader) -> Projection:
    """Return the projection; UNKNOWN where the header says nothing of it. Such a film is taken for a frontal one."""
    position = (header.view_position or "").upper()
    lateral_position = not _LATERAL_POSITIONS.isdisjoint(re.findall(r"[A-Z]+", position))
    found = _from_text(position, lateral=lateral_position) or _from_codes(header.view_codes)
    if found is not None:
        return found
    if _is_sagittal(header.patient_orientation):
        return Projection.OTHER
    return _from_text(" ".join(header.descriptions).upper().replace("_", " ")) or Projection.UNKNOWN


def _from_text(text: str, *, lateral: bool = False) -> Projection | None:
    """Return what free text says; "PA and LAT" names a study of two views and says nothing of this one."""
    frontal = {str(word) for word in _FRONTAL_WORDS.findall(text)}
    lateral = lateral or _LATERAL_WORDS.search(text) is not None
    if frontal and lateral:
        return None
    if lateral:
        return Projection.OTHER
    if frontal == {"PA"}:
        return Projection.PA
    if frontal == {"AP"}:
        return Projection.AP
    return Projection.FRONTAL if frontal else None


def _from_codes(codes: tuple[tuple[str, str], ...]) -> Projection | None:
    for value, meaning in codes:
        projection = _coded_views().get(_SNOMED_CT_OF_RT.get(value, value)) or _from_text(meaning.upper())
        if projection is not None:
            return projection
    return None


def _is_sagittal(orientation: tuple[str, ...]) -> bool:
    """Return whether Patient Orientation spans the sagittal plane: front to back along one axis of the image."""
    axes = [each[:1].upper() for each in orientation]
    return len(axes) == 2 and any(axis in ("A", "P") for axis in axes) and any(axis in ("H", "F") for axis in axes)


#: SNOMED-RT codes of older files, and the SNOMED CT codes of the same views (PS3.16 Annex D and CID 4010 of its time).
_SNOMED_CT_OF_RT: Final = {
    "R-10206": "399348003",
    "R-10214": "272479007",
    "R-40888": "272479007",
    "R-10202": "399033003",
    "R-102CD": "399067008",
    "R-10236": "399173006",
    "R-10232": "399198007",
}


@cache
def _coded_views() -> dict[str, Projection]:
    """Return the SNOMED CT codes of DICOM PS3.16 CID 4010 "DX View", and the projection that each means."""
    from pydicom.sr.codedict import codes  # noqa: PLC0415 - takes a third of a second, and few films are coded so

    named = {"AnteroPosterior": Projection.AP, "PosteroAnterior": Projection.PA, "Frontal": Projection.FRONTAL}
    views = codes.cid4010
    return {getattr(views, name).value: named.get(name, Projection.OTHER) for name in views.dir()}
