"""Whether a DICOM header is that of one frontal chest film that may be decoded, and if not, why.

The checks run in a fixed order and before any pixel is touched, so that a film with two faults always has the same
reason, and so that a CT or a bomb costs a header. What the header says is judged, never repeated: messages name the
attribute and hold words of closed lists only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.decode import SYNTAXES
from cxrlib.reading.dicom.file import DicomFile
from cxrlib.reading.dicom.header import Header
from cxrlib.reading.dicom.view import is_frontal
from cxrlib.settings import ReadSettings

#: SOP classes of projection radiography and of secondary capture (DICOM PS3.4 B.5), for files without a modality.
_PROJECTION: Final = (
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
)
_STANDARD_CLASS: Final = "1.2.840.10008."

#: Modalities that may be named in a message (PS3.3 C.7.3.1.1.1); any other is called "another".
_KNOWN_MODALITIES: Final = frozenset(
    ["CT", "ECG", "IO", "KO", "MG", "MR", "NM", "OP", "OT", "PR", "PT", "PX", "RF", "SC", "SEG", "SR", "US", "XA"]
)

#: What regional anatomy codes of the chest are called (PS3.16 CID 4031), as their English meaning.
_CHEST_MEANINGS: Final = ("CHEST", "THORAX", "LUNG", "RIB", "THORACIC CAVITY", "MEDIASTINUM")


def refuse(file: DicomFile, size: int, settings: ReadSettings) -> None:
    """Raise the reason why `file` cannot be scored, where its header shows one.

    Parameters
    ----------
    file : DicomFile
        As `open_dicom` gives it.
    size : int
        Bytes of the whole file.

    Raises
    ------
    FilmError
        In this order: WRONG_MODALITY, TRUNCATED (a header that breaks off) or NO_PIXELS, WRONG_BODY_PART,
        LATERAL_VIEW, MULTI_FRAME, UNSUPPORTED_SYNTAX, TOO_SMALL, TOO_LARGE.
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
    if not is_frontal(header):
        raise FilmError(Reason.LATERAL_VIEW, expected="a frontal view (PA or AP)", got="a lateral or oblique one")
    frames = header.integer("NumberOfFrames")
    if frames is not None and frames > 1:
        raise FilmError(Reason.MULTI_FRAME, expected="one frame", got=f"{frames} frames")
    if file.syntax not in SYNTAXES:
        raise FilmError(
            Reason.UNSUPPORTED_SYNTAX, expected="the transfer syntax of a still image", got="another one, or none known"
        )
    check_size(header.integer("Rows") or 0, header.integer("Columns") or 0, settings)


def check_size(rows: int, columns: int, settings: ReadSettings) -> None:
    """Raise TOO_SMALL or TOO_LARGE where `rows` and `columns`, in pixels, are outside what the settings allow."""
    if min(rows, columns) < settings.min_side:
        raise FilmError(
            Reason.TOO_SMALL, expected=f"at least {settings.min_side} rows and columns", got=f"{rows} x {columns}"
        )
    if rows * columns > settings.max_pixels:
        raise FilmError(
            Reason.TOO_LARGE,
            expected=f"at most {settings.max_pixels} pixels",
            got=f"{rows} x {columns} = {rows * columns}",
        )


def _check_modality(header: Header, accepted: Iterable[str]) -> None:
    modality = header.text("Modality")
    if modality is not None:
        if modality.upper() not in {each.upper() for each in accepted}:
            got = modality.upper() if modality.upper() in _KNOWN_MODALITIES else "another modality"
            raise FilmError(Reason.WRONG_MODALITY, expected="one of " + ", ".join(accepted), got=got)
        return
    sop_class = header.text("SOPClassUID")
    if sop_class is not None and sop_class.startswith(_STANDARD_CLASS) and sop_class not in _PROJECTION:
        raise FilmError(
            Reason.WRONG_MODALITY, expected="a class of projection radiography", got="no modality and another class"
        )


def _check_body_part(header: Header, accepted: Iterable[str]) -> None:
    part = header.text("BodyPartExamined")
    words = [_plain(each) for each in accepted]
    if part is not None and _plain(part) not in _SAYS_NOTHING:
        if not _names_any(_plain(part), words):
            raise FilmError(
                Reason.WRONG_BODY_PART,
                expected="one of " + ", ".join(accepted),
                got="another in Body Part Examined (0018,0015)",
            )
        return
    meanings = [_plain(item.text("CodeMeaning") or "") for item in header.items("AnatomicRegionSequence")]
    named = [meaning for meaning in meanings if meaning]
    if named and not any(_names_any(meaning, [*words, *_CHEST_MEANINGS]) for meaning in named):
        raise FilmError(
            Reason.WRONG_BODY_PART,
            expected="a region of the chest",
            got="another in Anatomic Region Sequence (0008,2218)",
        )


_SAYS_NOTHING: Final = ("", "UNKNOWN", "UNDEFINED", "NONE", "OTHER", "DEFAULT")


def _plain(text: str) -> str:
    """Return `text` in capitals, without accents, underscores or doubled blanks."""
    decomposed = unicodedata.normalize("NFKD", text.replace("_", " "))
    return " ".join("".join(each for each in decomposed if not unicodedata.combining(each)).upper().split())


def _names_any(text: str, words: Iterable[str]) -> bool:
    """Return whether any of `words` begins a word of `text`: CHESTABDOMEN names the chest, TRIBUTARY no rib."""
    return any(re.search(rf"\b{re.escape(word)}", text) for word in words if word)
