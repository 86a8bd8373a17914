"""Encode pixel data in every transfer syntax for still images.

The encoders are those of imagecodecs: libjpeg-turbo 3 (baseline, extended and lossless JPEG), CharLS, OpenJPEG and
OpenJPH. Each was checked with another decoder (libjpeg of pylibjpeg, OpenJPEG, CharLS of pyjpegls). The JPEG-LS and
HTJ2K encoders write the precision of the array, so these syntaxes support 8 or 16 bits only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Final, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import encapsulate

Stored = NDArray[np.integer]


class TransferSyntax(StrEnum):
    """Transfer syntaxes by their UID (DICOM PS3.5 section 10 and Annex A)."""

    IMPLICIT_LE = str(uid.ImplicitVRLittleEndian)
    EXPLICIT_LE = str(uid.ExplicitVRLittleEndian)
    EXPLICIT_BE = str(uid.ExplicitVRBigEndian)
    DEFLATED = str(uid.DeflatedExplicitVRLittleEndian)
    RLE = str(uid.RLELossless)
    JPEG_BASELINE = str(uid.JPEGBaseline8Bit)
    JPEG_EXTENDED = str(uid.JPEGExtended12Bit)
    JPEG_LOSSLESS = str(uid.JPEGLossless)
    JPEG_LOSSLESS_SV1 = str(uid.JPEGLosslessSV1)
    JPEG_LS = str(uid.JPEGLSLossless)
    JPEG_LS_NEAR = str(uid.JPEGLSNearLossless)
    JPEG_2000_LOSSLESS = str(uid.JPEG2000Lossless)
    JPEG_2000 = str(uid.JPEG2000)
    HTJ2K_LOSSLESS = str(uid.HTJ2KLossless)
    HTJ2K = str(uid.HTJ2K)

    @property
    def native(self) -> bool:
        """Whether pixels are stored uncompressed, in the byte order of the file."""
        return self in _NATIVE

    @property
    def lossless(self) -> bool:
        """Whether decoding restores every pixel exactly."""
        return self not in _LOSSY

    @property
    def bits(self) -> tuple[int, ...]:
        """Supported values of Bits Stored."""
        return _BITS.get(self, tuple(range(8, 17)))


_NATIVE: Final = frozenset(
    {TransferSyntax.IMPLICIT_LE, TransferSyntax.EXPLICIT_LE, TransferSyntax.EXPLICIT_BE, TransferSyntax.DEFLATED}
)
_LOSSY: Final = frozenset(
    {
        TransferSyntax.JPEG_BASELINE,
        TransferSyntax.JPEG_EXTENDED,
        TransferSyntax.JPEG_LS_NEAR,
        TransferSyntax.JPEG_2000,
        TransferSyntax.HTJ2K,
    }
)
_BITS: Final = {
    TransferSyntax.JPEG_BASELINE: (8,),
    TransferSyntax.JPEG_EXTENDED: (12,),
    TransferSyntax.JPEG_LS: (8, 16),
    TransferSyntax.JPEG_LS_NEAR: (8, 16),
    TransferSyntax.HTJ2K_LOSSLESS: (8, 16),
    TransferSyntax.HTJ2K: (8, 16),
}


def pixel_data(frames: list[Stored], syntax: TransferSyntax, bits: int) -> bytes:
    """Return the value of Pixel Data (7FE0,0010).

    Parameters
    ----------
    frames : list of integer arrays
        Each rows x columns, or rows x columns x 3 for colour; 1 or 2 bytes a sample.
    syntax : TransferSyntax
    bits : int
        Bits stored.

    Raises
    ------
    ValueError
        The syntax does not support this number of bits.
    """
    if bits not in syntax.bits:
        raise ValueError(f"expected {' or '.join(map(str, syntax.bits))} bits for {syntax.name}; got {bits}")
    if syntax.native:
        order: Literal["<", ">"] = ">" if syntax is TransferSyntax.EXPLICIT_BE else "<"
        raw = b"".join(frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in frames)
        return raw + b"\0" * (len(raw) % 2)
    return bytes(encapsulate([compress(frame, syntax, bits) for frame in frames]))


def compress(frame: Stored, syntax: TransferSyntax, bits: int) -> bytes:
    """Return one frame as a codestream or RLE segments. Parameters as in `pixel_data`; ValueError if native."""
    if syntax.native:
        raise ValueError(f"{syntax.name} does not compress")
    if syntax is TransferSyntax.RLE:
        return _rle(frame)
    if syntax in _SIGNED_CODECS:
        return bytes(_ENCODERS[syntax](frame, bits))
    unsigned: Stored = frame.view(f"u{frame.dtype.itemsize}")
    if bits < 16 and frame.dtype.kind == "i":
        # Codecs without signed samples store the low bits of the two's complement (PS3.5 8.2.1).
        unsigned = unsigned & unsigned.dtype.type(2**bits - 1)
    return bytes(_ENCODERS[syntax](unsigned, bits))


_SIGNED_CODECS: Final = frozenset(
    {
        TransferSyntax.JPEG_2000_LOSSLESS,
        TransferSyntax.JPEG_2000,
        TransferSyntax.HTJ2K_LOSSLESS,
        TransferSyntax.HTJ2K,
    }
)


def _jpeg_baseline(frame: Stored, bits: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(frame, level=92, subsampling="422" if frame.ndim == 3 else None))


def _jpeg_lossless(frame: Stored, bits: int, predictor: int) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(frame, lossless=True, predictor=predictor, bitspersample=bits))


def _jpeg_2000(frame: Stored, bits: int, decibels: int) -> bytes:
    """Return a bare codestream; `decibels` is the peak signal-to-noise ratio, 0 means lossless."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            frame, level=decibels, codecformat="J2K", bitspersample=bits, reversible=not decibels, mct=False
        )
    )


_ENCODERS: Final[dict[TransferSyntax, Callable[[Stored, int], bytes | bytearray]]] = {
    TransferSyntax.JPEG_BASELINE: _jpeg_baseline,
    TransferSyntax.JPEG_EXTENDED: lambda frame, bits: imagecodecs.jpeg8_encode(frame, level=95, bitspersample=bits),
    TransferSyntax.JPEG_LOSSLESS: partial(_jpeg_lossless, predictor=6),
    TransferSyntax.JPEG_LOSSLESS_SV1: partial(_jpeg_lossless, predictor=1),
    TransferSyntax.JPEG_LS: lambda frame, bits: imagecodecs.jpegls_encode(frame),
    TransferSyntax.JPEG_LS_NEAR: lambda frame, bits: imagecodecs.jpegls_encode(frame, level=2 if bits == 8 else 48),
    TransferSyntax.JPEG_2000_LOSSLESS: partial(_jpeg_2000, decibels=0),
    TransferSyntax.JPEG_2000: partial(_jpeg_2000, decibels=52),
    TransferSyntax.HTJ2K_LOSSLESS: lambda frame, bits: imagecodecs.htj2k_encode(frame, reversible=True),
    TransferSyntax.HTJ2K: lambda frame, bits: imagecodecs.htj2k_encode(frame, level=0.002, reversible=False),
}


def _rle(frame: Stored) -> bytes:
    """Return DICOM RLE: one PackBits segment per byte of each sample, most significant byte first (PS3.5 Annex G)."""
    samples = [frame] if frame.ndim == 2 else [frame[..., k] for k in range(frame.shape[2])]
    big = np.dtype(frame.dtype).newbyteorder(">")
    segments = []
    for sample in samples:
        octets = np.ascontiguousarray(sample, dtype=big).view(np.uint8).reshape(*sample.shape, big.itemsize)
        for byte_index in range(big.itemsize):
            packed = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(octets[..., byte_index]), axis=-1))
            segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = np.cumsum([64, *(len(segment) for segment in segments[:-1])]).tolist()
    header = struct.pack("<16L", len(segments), *offsets, *([0] * (15 - len(segments))))
    return header + b"".join(segments)
