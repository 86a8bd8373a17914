"""How one film is written: every choice an archive's equipment has made for us."""

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
    """How stored values become the modality's (PS3.3 C.11.1)."""

    NONE = "none"
    RESCALE = "rescale"
    LUT = "lut"


class Voi(StrEnum):
    """How the modality's values become grey (PS3.3 C.11.2)."""

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


_UNDECLARED: Final = (TransferSyntax.IMPLICIT_LE, TransferSyntax.EXPLICIT_LE)
_PLAIN: Final = frozenset(syntax for syntax in TransferSyntax if syntax.native or syntax is TransferSyntax.RLE)
#: Transfer syntaxes in which the less common photometric interpretations are written.
_COLOUR: Final[dict[Photometric, frozenset[TransferSyntax]]] = {
    Photometric.RGB: _PLAIN,
    Photometric.YBR_FULL: _PLAIN,
    Photometric.YBR_FULL_422: frozenset({TransferSyntax.JPEG_BASELINE}),
    Photometric.PALETTE: frozenset(syntax for syntax in TransferSyntax if syntax.lossless),
}


@dataclass(frozen=True, slots=True)
class DicomStyle:
    """How a phantom is written as DICOM.

    Attributes
    ----------
    bits_stored : int
        8 to 16, as far as the transfer syntax can.
    signed : bool
        Pixel Representation 1.
    padding : bool
        A hundredth of the short side at left and right is Pixel Padding Value; no lung is there.
    mirrored : bool
        Stored as seen from behind, and said so in Patient Orientation.
    planar : bool
        Colour by plane, for native syntaxes; RLE always is.
    preamble, file_meta : bool
        Whether the file begins as PS3.10 wants it; without file meta only uncompressed little endian can be read.
    position : Position or None
        The phantom's own where None.
    with_pixels : bool
        Without, it is a header alone.
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
        for wrong, said in (
            (self.bits_stored not in self.syntax.bits, f"{self.syntax.name} cannot hold {self.bits_stored} bits"),
            (self.frames < 1, f"a film has one frame or more, not {self.frames}"),
            (
                not self.file_meta and self.syntax not in _UNDECLARED,
                f"{self.syntax.name} must be declared in file meta",
            ),
            (not self.file_meta and self.preamble, "a preamble without file meta is no DICOM file"),
            (self.planar and not (self.photometric.colour and self.syntax.native), "only native colour lies in planes"),
            (self._odd_grey(), f"{self.photometric.name} is written with 8 unsigned bits and no grey-scale map"),
            (
                self.photometric in _COLOUR and self.syntax not in _COLOUR[self.photometric],
                f"{self.photometric.name} is not written in {self.syntax.name}",
            ),
            (
                self.signed and not self.syntax.lossless and self.syntax is not TransferSyntax.HTJ2K,
                f"signed values do not survive {self.syntax.name}",
            ),
            (self.padding and not self.syntax.lossless, "lossy compression smears the padding value"),
        ):
            if wrong:
                raise ValueError(f"no such DICOM style: {said}")

    def _odd_grey(self) -> bool:
        plain = self.bits_stored == 8 and not self.signed and not self.padding
        plain = plain and self.modality_map is ModalityMap.NONE and self.voi is Voi.NONE
        return self.photometric in _COLOUR and not plain


#: What an archive of mixed age and make holds: 15 transfer syntaxes, both polarities, 8 to 16 bits.
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
