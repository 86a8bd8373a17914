"""Options of a DICOM file: the choices that the equipment of an archive makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cxrlib.phantom.transfer_syntax import TransferSyntax


class Photometric(StrEnum):
    """Photometric Interpretation (DICOM PS3.3 C.7.6.3.1.2)."""

    MONOCHROME1 = "MONOCHROME1"
    MONOCHROME2 = "MONOCHROME2"
    RGB = "RGB"
    YBR_FULL = "YBR_FULL"
    YBR_FULL_422 = "YBR_FULL_422"
    PALETTE = "PALETTE COLOR"

    @property
    def colour(self) -> bool:
        """Whether a pixel has three samples."""
        return self in (Photometric.RGB, Photometric.YBR_FULL, Photometric.YBR_FULL_422)


class ModalityMap(StrEnum):
    """How stored values become modality values (PS3.3 C.11.1)."""

    NONE = "none"
    RESCALE = "rescale"
    LUT = "lut"


class Voi(StrEnum):
    """How modality values become grey (PS3.3 C.11.2)."""

    NONE = "none"
    LINEAR = "LINEAR"
    LINEAR_EXACT = "LINEAR_EXACT"
    SIGMOID = "SIGMOID"
    LUT = "lut"


class Position(StrEnum):
    """View Position (0018,5101)."""

    PA = "PA"
    AP = "AP"
    LL = "LL"


class Modality(StrEnum):
    """Modality (0008,0060)."""

    CR = "CR"
    DX = "DX"
    CT = "CT"


class BodyPart(StrEnum):
    """Body Part Examined (0018,0015)."""

    CHEST = "CHEST"
    HAND = "HAND"


_DEFAULT_SYNTAXES: Final = (TransferSyntax.IMPLICIT_LE, TransferSyntax.EXPLICIT_LE)
_NATIVE_OR_RLE: Final = frozenset(syntax for syntax in TransferSyntax if syntax.native or syntax is TransferSyntax.RLE)
#: Allowed transfer syntaxes of the less common photometric interpretations.
_ALLOWED_SYNTAXES: Final[dict[Photometric, frozenset[TransferSyntax]]] = {
    Photometric.RGB: _NATIVE_OR_RLE,
    Photometric.YBR_FULL: _NATIVE_OR_RLE,
    Photometric.YBR_FULL_422: frozenset({TransferSyntax.JPEG_BASELINE}),
    Photometric.PALETTE: frozenset(syntax for syntax in TransferSyntax if syntax.lossless),
}


@dataclass(frozen=True, slots=True)
class DicomStyle:
    """How a phantom is written as DICOM.

    The SOP Instance UID is derived from ``repr`` of the style: renaming this class, its fields or its enumerations
    changes the files.

    Attributes
    ----------
    bits_stored : int
        8 to 16, if the transfer syntax allows it.
    signed : bool
        Whether values are signed (Pixel Representation 1).
    padding : bool
        Whether 1 % of the short side at left and right is Pixel Padding Value; it covers no lung.
    mirrored : bool
        Whether the film is stored as seen from behind, with the matching Patient Orientation.
    planar : bool
        Whether colour is stored by plane, for native syntaxes; RLE always does.
    preamble, file_meta : bool
        Whether the file has the preamble and the file meta group of PS3.10. Without file meta, only uncompressed
        little endian can be read.
    position : Position or None
        View position; None means that of the phantom.
    with_pixels : bool
        Whether the file has pixel data or only a header.
    """

    syntax: TransferSyntax = TransferSyntax.EXPLICIT_LE
    photometric: Photometric = Photometric.MONOCHROME2
    bits_stored: int = 12
    signed: bool = False
    modality_map: ModalityMap = ModalityMap.NONE
    voi: Voi = Voi.LINEAR
    padding: bool = False
    mirrored: bool = False
    planar: bool = False
    preamble: bool = True
    file_meta: bool = True
    frames: int = 1
    position: Position | None = None
    modality: Modality = Modality.DX
    body_part: BodyPart = BodyPart.CHEST
    spacing: bool = True
    with_pixels: bool = True

    def __post_init__(self) -> None:
        for wrong, problem in (
            (self.bits_stored not in self.syntax.bits, f"{self.syntax.name} cannot hold {self.bits_stored} bits"),
            (self.frames < 1, f"expected at least one frame; got {self.frames}"),
            (
                not self.file_meta and self.syntax not in _DEFAULT_SYNTAXES,
                f"{self.syntax.name} must be declared in file meta",
            ),
            (not self.file_meta and self.preamble, "a preamble needs file meta"),
            (
                self.planar and not (self.photometric.colour and self.syntax.native),
                "planar needs colour and a native transfer syntax",
            ),
            (
                self._unsupported_grey(),
                f"{self.photometric.name} needs 8 unsigned bits and no modality map, VOI or padding",
            ),
            (
                self.photometric in _ALLOWED_SYNTAXES and self.syntax not in _ALLOWED_SYNTAXES[self.photometric],
                f"{self.photometric.name} cannot be written in {self.syntax.name}",
            ),
            (
                self.signed and not self.syntax.lossless and self.syntax is not TransferSyntax.HTJ2K,
                f"{self.syntax.name} does not preserve signed values",
            ),
            (self.padding and not self.syntax.lossless, "lossy compression changes the padding value"),
        ):
            if wrong:
                raise ValueError(f"invalid DICOM style: {problem}")

    def _unsupported_grey(self) -> bool:
        plain = self.bits_stored == 8 and not self.signed and not self.padding
        plain = plain and self.modality_map is ModalityMap.NONE and self.voi is Voi.NONE
        return self.photometric in _ALLOWED_SYNTAXES and not plain


#: Styles of an archive of mixed age and vendors: 15 transfer syntaxes, both polarities, 8 to 16 bits.
MIXED_STYLES: Final[tuple[DicomStyle, ...]] = (
    DicomStyle(),
    DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS, bits_stored=12, voi=Voi.SIGMOID),
    DicomStyle(TransferSyntax.JPEG_LOSSLESS_SV1, Photometric.MONOCHROME1, 14),
    DicomStyle(TransferSyntax.IMPLICIT_LE, bits_stored=10, modality_map=ModalityMap.RESCALE, modality=Modality.CR),
    DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8, voi=Voi.NONE),
    DicomStyle(TransferSyntax.RLE, bits_stored=16, voi=Voi.LUT),
    DicomStyle(TransferSyntax.JPEG_LS, Photometric.MONOCHROME1, 16, voi=Voi.LINEAR_EXACT),
    DicomStyle(TransferSyntax.EXPLICIT_BE, bits_stored=12, signed=True, modality_map=ModalityMap.RESCALE),
    DicomStyle(TransferSyntax.JPEG_EXTENDED, Photometric.MONOCHROME1, 12),
    DicomStyle(TransferSyntax.DEFLATED, bits_stored=11, voi=Voi.NONE, padding=True),
    DicomStyle(TransferSyntax.JPEG_2000, bits_stored=15, mirrored=True),
    DicomStyle(TransferSyntax.HTJ2K_LOSSLESS, bits_stored=16, voi=Voi.NONE),
    DicomStyle(TransferSyntax.JPEG_LOSSLESS, bits_stored=13, modality_map=ModalityMap.LUT, voi=Voi.LINEAR),
    DicomStyle(TransferSyntax.JPEG_LS_NEAR, bits_stored=8, modality=Modality.CR, spacing=False),
    DicomStyle(TransferSyntax.HTJ2K, Photometric.MONOCHROME1, 16),
    DicomStyle(TransferSyntax.RLE, Photometric.RGB, 8, voi=Voi.NONE),
    DicomStyle(TransferSyntax.EXPLICIT_LE, Photometric.PALETTE, 8, voi=Voi.NONE),
    DicomStyle(TransferSyntax.IMPLICIT_LE, bits_stored=9, preamble=False, file_meta=False),
    DicomStyle(TransferSyntax.EXPLICIT_LE, Photometric.YBR_FULL, 8, voi=Voi.NONE, planar=True),
)
