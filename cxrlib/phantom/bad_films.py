"""Make objects that must not be scored, each with its expected reject reason."""

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
    """Kind of an object that must be rejected.

    Attributes
    ----------
    reason : Reason
        Expected reject reason.
    suffix : str
        File name extension; it may not match the content.
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


#: Side of a film that is below any sensible `read.min_side`, in pixels.
SMALL_SIDE: Final = 48

_STYLES: Final = {
    BadKind.LATERAL: DicomStyle(TransferSyntax.JPEG_LOSSLESS_SV1, position=Position.LL),
    BadKind.HAND: DicomStyle(body_part=BodyPart.HAND, modality=Modality.CR),
    BadKind.CT: DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS, modality=Modality.CT),
    BadKind.NO_PIXELS: DicomStyle(with_pixels=False),
    BadKind.MULTI_FRAME: DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8, voi=Voi.NONE, frames=3),
}


def make_bad_film(kind: BadKind, seed: int, *, rows: int = 512, columns: int = 512) -> bytes:
    """Return an object of the kind; the same arguments give the same bytes.

    Parameters
    ----------
    kind : BadKind
    seed : int
        Seed of the phantom from which the object is made.
    rows, columns : int
        Size of that phantom in pixels; `TOO_SMALL` always has `SMALL_SIDE`.
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
    """Return a file of full length whose last third is zeros, like an interrupted transfer."""
    whole = encode_dicom(phantom, style)
    tail = len(whole) // 3
    return whole[:-tail] + b"\0" * tail


_MAKERS: Final[dict[BadKind, Callable[[Phantom, DicomStyle], bytes]]] = {
    BadKind.TRUNCATED: _truncated,
    BadKind.CONSTANT: _constant,
    BadKind.ZERO_TAIL: _zero_tail,
}
