"""The DICOM transfer syntaxes that are read, and how each packs pixels.

To add a transfer syntax: add its UID here, and its codec in `cxrlib.reading.codecs.decode` if the kind of codestream
is new.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from pydicom import uid


class Packing(Enum):
    """How a transfer syntax stores pixels."""

    NATIVE = "native"
    RLE = "run lengths"
    CODESTREAM = "a JPEG or JPEG 2000 codestream"


#: A codestream states its own kind, and that is what decides: files labelled with another syntax of the JPEG family are
#: common and harmless.
SYNTAXES: Final[dict[str, Packing]] = {
    str(uid.ImplicitVRLittleEndian): Packing.NATIVE,
    str(uid.ExplicitVRLittleEndian): Packing.NATIVE,
    str(uid.ExplicitVRBigEndian): Packing.NATIVE,
    str(uid.DeflatedExplicitVRLittleEndian): Packing.NATIVE,
    str(uid.RLELossless): Packing.RLE,
    str(uid.JPEGBaseline8Bit): Packing.CODESTREAM,
    str(uid.JPEGExtended12Bit): Packing.CODESTREAM,
    str(uid.JPEGLossless): Packing.CODESTREAM,
    str(uid.JPEGLosslessSV1): Packing.CODESTREAM,
    str(uid.JPEGLSLossless): Packing.CODESTREAM,
    str(uid.JPEGLSNearLossless): Packing.CODESTREAM,
    str(uid.JPEG2000Lossless): Packing.CODESTREAM,
    str(uid.JPEG2000): Packing.CODESTREAM,
    str(uid.HTJ2KLossless): Packing.CODESTREAM,
    str(uid.HTJ2KLosslessRPCL): Packing.CODESTREAM,
    str(uid.HTJ2K): Packing.CODESTREAM,
}
