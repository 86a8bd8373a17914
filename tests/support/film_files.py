"""Small synthetic films as DICOM files of every transfer syntax, as PNG and as JPEG, for tests of reading."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (
    *NATIVE,
    RLELossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)

#: Value of an element that `dataset` leaves out.
ABSENT = object()


def film(rows: int = 160, columns: int = 144, bits: int = 12, seed: int = 0) -> NDArray[np.uint16]:
    """Return a simple asymmetric chest with a little noise: dark lungs, bright middle and abdomen; white is dense."""
    y, x = (np.mgrid[0:rows, 0:columns] + 0.5) / np.array([rows, columns]).reshape(2, 1, 1)
    lungs = sum(np.exp(-((((x - at) / 0.13) ** 2 + ((y - 0.45) / 0.25) ** 2) ** 2)) for at in (0.27, 0.73))
    heart = np.exp(-(((x - 0.58) / 0.14) ** 2) - ((y - 0.6) / 0.16) ** 2)
    body = 0.45 + 0.3 * np.exp(-(((x - 0.5) / 0.12) ** 2)) + 0.3 / (1 + np.exp(-(y - 0.75) / 0.05))
    grey = body - 0.4 * lungs + 0.25 * heart + 0.01 * np.random.default_rng(seed).standard_normal((rows, columns))
    return np.rint(np.clip((grey + 0.1) / 1.35, 0, 1) * (2**bits - 1)).astype(np.uint16)


def encode(pixels: NDArray[np.integer], syntax: str, bits: int, lossless_predictor: int = 4) -> bytes:
    """Return one frame of unsigned `pixels` (rows x columns, or x 3) as a codestream or RLE frame."""
    narrow = pixels.astype(np.uint8 if bits <= 8 else np.uint16)
    if syntax == RLELossless:
        return RLELosslessEncoder.encode(
            narrow.tobytes(),
            rows=narrow.shape[0],
            columns=narrow.shape[1],
            samples_per_pixel=1 if narrow.ndim == 2 else 3,
            bits_allocated=8 * narrow.dtype.itemsize,
            bits_stored=bits,
            pixel_representation=0,
            photometric_interpretation="MONOCHROME2" if narrow.ndim == 2 else "RGB",
            planar_configuration=0,
            number_of_frames=1,
        )
    wide = narrow.astype(np.uint16)
    encoders: dict[str, Callable[[], bytes]] = {
        JPEGBaseline8Bit: lambda: imagecodecs.jpeg8_encode(narrow, 95),
        JPEGExtended12Bit: lambda: imagecodecs.jpeg8_encode(wide, 95, bitspersample=12),
        JPEGLossless: lambda: imagecodecs.jpeg8_encode(
            narrow, lossless=True, predictor=lossless_predictor, bitspersample=bits
        ),
        JPEGLosslessSV1: lambda: imagecodecs.jpeg8_encode(narrow, lossless=True, predictor=1, bitspersample=bits),
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(narrow),
        JPEGLSNearLossless: lambda: imagecodecs.jpegls_encode(narrow, 2),
        JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(
            narrow, reversible=True, bitspersample=bits, codecformat="J2K"
        ),
        JPEG2000: lambda: imagecodecs.jpeg2k_encode(
            narrow, level=60, reversible=False, bitspersample=bits, codecformat="J2K"
        ),
        HTJ2KLossless: lambda: imagecodecs.htj2k_encode(narrow, reversible=True),
        HTJ2KLosslessRPCL: lambda: imagecodecs.htj2k_encode(narrow, reversible=True),
        HTJ2K: lambda: imagecodecs.htj2k_encode(narrow, level=0.0005, reversible=False),
    }
    return encoders[syntax]()


def dataset(pixels: NDArray[np.integer], bits: int = 12, elements: Mapping[str, Any] | None = None) -> Dataset:
    """Return the header of a frontal chest film of `pixels`; `elements` replaces or removes (`ABSENT`) elements."""
    data_set = Dataset()
    header: dict[str, Any] = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1",
        "SOPInstanceUID": "1.2.826.0.1.3680043.10.1",
        "StudyInstanceUID": "1.2.826.0.1.3680043.10.2",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.10.3",
        "PatientID": "patient-7",
        "PatientName": "Secret^Name",
        "StudyDate": "20200301",
        "Modality": "DX",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1 if pixels.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if pixels.ndim == 2 else "RGB",
        "BitsAllocated": 8 if bits <= 8 else 16,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
        "ImagerPixelSpacing": [0.2, 0.3],
        **({"PlanarConfiguration": 0} if pixels.ndim == 3 else {}),
        **(elements or {}),
    }
    for keyword, value in header.items():
        if value is not ABSENT:
            setattr(data_set, keyword, value)
    return data_set


def dicom(
    pixels: NDArray[np.integer],
    syntax: str = ExplicitVRLittleEndian,
    bits: int = 12,
    elements: Mapping[str, Any] | None = None,
    *,
    fragments: int = 1,
    frame: bytes | None = None,
    part10: bool = True,
) -> bytes:
    """Return a DICOM file.

    Parameters
    ----------
    pixels : integer array
        Stored values; negative values become two's complement of the allocated bits.
    frame : bytes, optional
        Compressed frame or native bytes to store instead of those of `pixels`.
    part10 : bool
        Write preamble and file meta information; otherwise the bare data set.
    """
    data_set = dataset(pixels, bits, elements)
    dtype = np.uint8 if data_set.BitsAllocated == 8 else np.uint16
    if syntax in NATIVE:
        stored = pixels.astype(dtype)
        native = frame if frame is not None else stored.byteswap().tobytes() if _is_big(syntax) else stored.tobytes()
        data_set.PixelData = native + b"\0" * (len(native) % 2)
    else:
        mask = (1 << bits) - 1
        stream = frame if frame is not None else encode(pixels.astype(np.int64) & mask, syntax, bits)
        data_set.PixelData = encapsulate([stream], fragments_per_frame=fragments)
    data_set["PixelData"].VR = "OB" if data_set.BitsAllocated == 8 or syntax not in NATIVE else "OW"
    data_set["PixelData"].is_undefined_length = syntax not in NATIVE
    return serialise(data_set, syntax, part10=part10)


def serialise(data_set: Dataset, syntax: str = ExplicitVRLittleEndian, *, part10: bool = True) -> bytes:
    """Return a data set as a DICOM file, or bare."""
    if not part10:
        stream = DicomBytesIO()
        stream.is_little_endian = not _is_big(syntax)
        stream.is_implicit_VR = syntax == ImplicitVRLittleEndian
        write_dataset(stream, data_set)
        return stream.getvalue()
    data_set.file_meta = FileMetaDataset()
    data_set.file_meta.TransferSyntaxUID = syntax
    data_set.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data_set.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.1"
    out = io.BytesIO()
    dcmwrite(out, data_set, enforce_file_format=True)
    return out.getvalue()


def png(pixels: NDArray[np.integer]) -> bytes:
    """Return a PNG of 8 or 16 bits."""
    return bytes(imagecodecs.png_encode(pixels))


def jpeg(pixels: NDArray[np.integer], quality: int = 95) -> bytes:
    """Return a baseline JPEG."""
    return bytes(imagecodecs.jpeg8_encode(pixels.astype(np.uint8), quality))


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return one PNG chunk."""
    return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")


def _is_big(syntax: str) -> bool:
    return syntax == ExplicitVRBigEndian
