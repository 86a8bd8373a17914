"""Objects that no pipeline should score, each with the reason it should give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from typing import Final

import numpy as np

from cxr_schemas import Reason
from cxrlib.phantom.dicom_style import BodyPart, DicomStyle, Modality, Position, Voi
from cxrlib.phantom.encode import encode_dicom
from cxrlib.phantom.film import Phantom, make_phantom
from cxrlib.phantom.transfer_syntax import TransferSyntax


class BadKind(StrEnum):
    """What is wrong with an object.

    Attributes
    ----------
    reason : Reason
        What a pipeline should say of it.
    suffix : str
        File name extension; as in life, it proves nothing.
    """

    reason: Reason
    suffix: str

    def __new__(cls, value: str, reason: Reason, suffix: str = ".dcm") -> BadKind:
        member = str.__new__(cls, value)
        member._value_ = value
        member.reason = reason
        member.suffix = suffix
        return member

    EMPTY = "empty", Reason.EMPTY
    TEXT = "text", Reason.NOT_AN_IMAGE, ".txt"
    TRUNCATED = "truncated", Reason.TRUNCATED
    LATERAL = "lateral", Reason.LATERAL_VIEW
    HAND = "hand", Reason.WRONG_BODY_PART
    CT = "ct", Reason.WRONG_MODALITY
    NO_PIXELS = "no_pixels", Reason.NO_PIXELS
    MULTI_FRAME = "multi_frame", Reason.MULTI_FRAME
    CONSTANT = "constant", Reason.CONSTANT
    ZERO_TAIL = "zero_tail", Reason.TRUNCATED
    TOO_SMALL = "too_small", Reason.TOO_SMALL


#: Side of the film that is too small for any setting that makes sense, in pixels.
SMALL_SIDE: Final = 48

_STYLES: Final = {
    BadKind.LATERAL: DicomStyle(TransferSyntax.JPEG_LOSSLESS_SV1, position=Position.LL),
    BadKind.HAND: DicomStyle(body_part=BodyPart.HAND, modality=Modality.CR),
    BadKind.CT: DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS, modality=Modality.CT),
    BadKind.NO_PIXELS: DicomStyle(with_pixels=False),
    BadKind.MULTI_FRAME: DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8, voi=Voi.NONE, frames=3),
}


def make_bad_film(kind: BadKind, seed: int, *, rows: int = 512, columns: int = 512) -> bytes:
    """Return an object of the kind, the same bytes each time.

    Parameters
    ----------
    kind : BadKind
    seed : int
        Of the film that the object is made from.
    rows, columns : int
        Size of that film; a film that is too small has `SMALL_SIDE` instead.
    """
    if kind is BadKind.EMPTY:
        return b""
    if kind is BadKind.TEXT:
        return f"Export {seed} finished without errors.\n".encode() * 20
    if kind is BadKind.TOO_SMALL:
        rows = columns = SMALL_SIDE
    phantom = make_phantom(seed, rows=rows, columns=columns)
    return _MAKERS.get(kind, encode_dicom)(phantom, _STYLES.get(kind, DicomStyle()))


def _truncated(phantom: Phantom, style: DicomStyle) -> bytes:
    whole = encode_dicom(phantom, style)
    return whole[: int(len(whole) * 0.6)]


def _constant(phantom: Phantom, style: DicomStyle) -> bytes:
    return encode_dicom(replace(phantom, pixels=np.full_like(phantom.pixels, 0.5)), style)


def _zero_tail(phantom: Phantom, style: DicomStyle) -> bytes:
    """Return a file of full length whose last third was never received."""
    whole = encode_dicom(phantom, style)
    tail = len(whole) // 3
    return whole[:-tail] + b"\0" * tail


_MAKERS: Final[dict[BadKind, Callable[[Phantom, DicomStyle], bytes]]] = {
    BadKind.TRUNCATED: _truncated,
    BadKind.CONSTANT: _constant,
    BadKind.ZERO_TAIL: _zero_tail,
}
