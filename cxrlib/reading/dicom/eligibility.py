"""Decide from a DICOM header whether the file is one frontal chest film that may be decoded.

The checks run in a fixed order and before any pixel is read. A film with two faults therefore always has the same
reason, and a CT or a decompression bomb costs no more than its header. Messages name the attribute and hold words from
closed lists only: they never repeat what the header says.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.transfer_syntaxes import SYNTAXES
from cxrlib.reading.dicom.file import DicomFile
from cxrlib.reading.dicom.header import FilmHeader
from cxrlib.reading.dicom.view import Projection
from cxrlib.reading.limits import check_size
from cxrlib.settings import ReadSettings

#: SOP classes of projection radiography and of secondary capture (DICOM PS3.4 B.5), for files without a modality.
_PROJECTION_CLASSES: Final = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
_STANDARD_CLASS: Final = "1.2.840.10008."

#: Modalities that a message may name (PS3.3 C.7.3.1.1.1); any other is called "another modality".
_KNOWN_MODALITIES: Final = frozenset(
    ["CT", "ECG", "IO", "KO", "MG", "MR", "NM", "OP", "OT", "PR", "PT", "PX", "RF", "SC", "SEG", "SR", "US", "XA"]
)

#: English meanings of the anatomic region codes of the chest (PS3.16 CID 4031).
_CHEST_MEANINGS: Final = ("CHEST", "THORAX", "LUNG", "RIB", "THORACIC CAVITY", "MEDIASTINUM")

#: Values of Body Part Examined that name no body part.
_NO_BODY_PART: Final = ("", "UNKNOWN", "UNDEFINED", "NONE", "OTHER", "DEFAULT")


def check_eligible(file: DicomFile, projection: Projection, size: int, settings: ReadSettings) -> None:
    """Raise the first reason in the header of `file` why it cannot be scored.

    Parameters
    ----------
    file : DicomFile
    projection : Projection
        Of the film, from `cxrlib.reading.dicom.view.projection_of`.
    size : int
        Bytes of the whole file, for the message.
    settings : ReadSettings

    Raises
    ------
    FilmError
        In this order: WRONG_MODALITY, TRUNCATED (the header breaks off) or NO_PIXELS, WRONG_BODY_PART, LATERAL_VIEW,
        MULTI_FRAME, UNSUPPORTED_SYNTAX, TOO_SMALL, TOO_LARGE.
    """
    header = file.header
    _check_modality(header, settings.modalities)
    if file.pixels is None:
        if file.cut:
            raise FilmError(
                Reason.TRUNCATED, expected="whole header elements", got=f"a file that ends within one, at {size} bytes"
            )
        raise FilmError(Reason.NO_PIXELS, expected="integer Pixel Data (7FE0,0010)", got="none")
    _check_body_part(header, settings.body_parts)
    if projection is Projection.OTHER:
        raise FilmError(Reason.LATERAL_VIEW, expected="a frontal view (PA or AP)", got="a lateral or oblique one")
    if header.number_of_frames is not None and header.number_of_frames > 1:
        raise FilmError(Reason.MULTI_FRAME, expected="one frame", got=f"{header.number_of_frames} frames")
    if file.syntax not in SYNTAXES:
        raise FilmError(
            Reason.UNSUPPORTED_SYNTAX, expected="the transfer syntax of a still image", got="another one, or none known"
        )
    check_size(header.rows, header.columns, settings)


def _check_modality(header: FilmHeader, accepted: Iterable[str]) -> None:
    modality = header.modality
    if modality is not None:
        if modality.upper() not in {each.upper() for each in accepted}:
            got = modality.upper() if modality.upper() in _KNOWN_MODALITIES else "another modality"
            raise FilmError(Reason.WRONG_MODALITY, expected="one of " + ", ".join(accepted), got=got)
        return
    sop_class = header.sop_class_uid
    if sop_class is not None and sop_class.startswith(_STANDARD_CLASS) and sop_class not in _PROJECTION_CLASSES:
        raise FilmError(
            Reason.WRONG_MODALITY,
            expected="a SOP class of projection radiography",
            got="no modality and another SOP class",
        )


def _check_body_part(header: FilmHeader, accepted: Iterable[str]) -> None:
    names = [_normalised(each) for each in accepted]
    part = None if header.body_part is None else _normalised(header.body_part)
    if part is not None and part not in _NO_BODY_PART:
        if not _names_any(part, names):
            raise FilmError(
                Reason.WRONG_BODY_PART,
                expected="one of " + ", ".join(accepted),
                got="another in Body Part Examined (0018,0015)",
            )
        return
    regions = [region for region in map(_normalised, header.anatomic_regions) if region]
    if regions and not any(_names_any(region, [*names, *_CHEST_MEANINGS]) for region in regions):
        raise FilmError(
            Reason.WRONG_BODY_PART,
            expected="a region of the chest",
            got="another in Anatomic Region Sequence (0008,2218)",
        )


def _normalised(text: str) -> str:
    """Return `text` in capitals, without accents, underscores or repeated spaces."""
    decomposed = unicodedata.normalize("NFKD", text.replace("_", " "))
    return " ".join("".join(each for each in decomposed if not unicodedata.combining(each)).upper().split())


def _names_any(text: str, names: Iterable[str]) -> bool:
    """Return whether a word of `text` begins with any of `names`: CHESTABDOMEN names the chest, TRIBUTARY no rib."""
    return any(re.search(rf"\b{re.escape(name)}", text) for name in names if name)
