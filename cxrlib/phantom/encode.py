"""Encode a phantom as a file: DICOM in any style, PNG or JPEG."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
from typing import Final

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from cxrlib.phantom.dicom_style import DicomStyle, Modality, Photometric, Position, Voi
from cxrlib.phantom.film import PHANTOM_VERSION, Phantom
from cxrlib.phantom.stored_values import GreyScale, to_stored_values
from cxrlib.phantom.transfer_syntax import TransferSyntax, pixel_data

_SOP_CLASSES: Final = {
    Modality.CR: "1.2.840.10008.5.1.4.1.1.1",
    Modality.DX: "1.2.840.10008.5.1.4.1.1.1.1",
    Modality.CT: "1.2.840.10008.5.1.4.1.1.2",
}
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_FIRST_STUDY: Final = dt.date(2015, 1, 1)
_STUDY_DAYS: Final = 3650


def derived_uid(*parts: object) -> UID:
    """Return a UID derived from `parts`, under the root 2.25 for UUIDs (DICOM PS3.5 B.2)."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")


def study_date(seed: int) -> dt.date:
    """Return the study date of the fictitious patient of `seed`."""
    return _FIRST_STUDY + dt.timedelta(
        days=int.from_bytes(hashlib.sha256(b"day %d" % seed).digest()[:4], "big") % _STUDY_DAYS
    )


def encode_dicom(phantom: Phantom, style: DicomStyle) -> bytes:
    """Return the phantom as a DICOM file (PS3.10); the same arguments give the same bytes.

    The patient is fictitious: PHANTOM-<seed>. UIDs are derived from the seed and the style.
    """
    syntax = UID(style.syntax.value)
    meta = FileMetaDataset()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128 if style.preamble else None)
    _describe(dataset, phantom, style)
    if style.with_pixels:
        _add_pixels(dataset, phantom, style)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = derived_uid("implementation", PHANTOM_VERSION)
    conformant = style.preamble and style.file_meta
    out = io.BytesIO()
    if not style.file_meta:
        bare = Dataset(dataset)
        dcmwrite(out, bare, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=False)
    else:
        dcmwrite(out, dataset, enforce_file_format=conformant)
    return out.getvalue()


def encode_png(phantom: Phantom, bits: int = 8) -> bytes:
    """Return the phantom as a grey PNG of 8 or 16 bits; other depths raise ValueError."""
    if bits not in (8, 16):
        raise ValueError(f"expected a PNG of 8 or 16 bits; got {bits}")
    return _opencv(".png", _quantise(phantom.pixels, bits), [cv2.IMWRITE_PNG_COMPRESSION, 3])


def encode_jpeg(phantom: Phantom, quality: int = 92) -> bytes:
    """Return the phantom as a grey baseline JPEG of `quality` 1 to 100."""
    return bytes(imagecodecs.jpeg8_encode(_quantise(phantom.pixels, 8), level=quality))


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """Return a mask as a one-bit PNG: 0 and 255."""
    return _opencv(".png", mask.astype(np.uint8) * np.uint8(255), [cv2.IMWRITE_PNG_BILEVEL, 1])


def _opencv(suffix: str, pixels: NDArray[np.integer], options: list[int]) -> bytes:
    written, data = cv2.imencode(suffix, pixels, options)
    if not written:
        raise ValueError(f"OpenCV cannot write {pixels.dtype} pixels of shape {pixels.shape} as {suffix}")
    return bytes(data.tobytes())


def _quantise(pixels: NDArray[np.float32], bits: int) -> NDArray[np.integer]:
    steps = np.asarray(np.rint(pixels * np.float32(2**bits - 1)))
    return steps.astype(np.uint8) if bits == 8 else steps.astype(np.uint16)


def _describe(dataset: Dataset, phantom: Phantom, style: DicomStyle) -> None:
    seed, day = phantom.seed, study_date(phantom.seed)
    secondary = style.photometric.colour or style.photometric is Photometric.PALETTE
    dataset.SOPClassUID = UID(_SECONDARY_CAPTURE if secondary else _SOP_CLASSES[style.modality])
    dataset.StudyInstanceUID = derived_uid("study", seed)
    dataset.SeriesInstanceUID = derived_uid("series", seed)
    dataset.SOPInstanceUID = derived_uid("instance", seed, *phantom.pixels.shape, style)
    dataset.StudyDate = dataset.ContentDate = f"{day:%Y%m%d}"
    dataset.StudyTime = dataset.ContentTime = "120000"
    dataset.Modality = style.modality.value
    dataset.Manufacturer = "cxr-batch phantom"
    dataset.BodyPartExamined = style.body_part.value
    dataset.PatientName = "Phantom^Film"
    dataset.PatientID = f"PHANTOM-{seed:06d}"
    dataset.PatientBirthDate = f"{day.year - int(phantom.age_years) - 1}0701"
    dataset.PatientSex = "O"
    dataset.PatientAge = f"{int(phantom.age_years):03d}Y"
    dataset.AccessionNumber = f"P{seed:09d}"
    dataset.StudyID = dataset.SeriesNumber = dataset.InstanceNumber = "1"
    dataset.ViewPosition = (style.position or Position(phantom.view.value)).value
    dataset.PatientOrientation = ["R", "F"] if style.mirrored else ["L", "F"]
    if style.position is Position.LL:
        dataset.PatientOrientation = ["A", "F"]
    if style.spacing:
        dataset.ImagerPixelSpacing = [f"{phantom.spacing_mm:.6g}"] * 2
    dataset.BurnedInAnnotation = "NO"


def _add_pixels(dataset: Dataset, phantom: Phantom, style: DicomStyle) -> None:
    film = phantom.pixels[:, ::-1] if style.mirrored else phantom.pixels
    dataset.Rows, dataset.Columns = (int(side) for side in film.shape)
    dataset.PhotometricInterpretation = style.photometric.value
    dataset.PixelRepresentation = int(style.signed)
    dataset.BitsStored = style.bits_stored
    dataset.BitsAllocated = 8 if style.bits_stored == 8 else 16
    dataset.HighBit = style.bits_stored - 1
    dataset.SamplesPerPixel = 3 if style.photometric.colour else 1
    if style.frames > 1:
        dataset.NumberOfFrames = style.frames
    if not style.syntax.lossless:
        dataset.LossyImageCompression = "01"
    stored: NDArray[np.integer]
    if style.photometric.colour:
        stored = _colour(film, style)
        dataset.PlanarConfiguration = int(style.planar or style.syntax is TransferSyntax.RLE)
    elif style.photometric is Photometric.PALETTE:
        stored = np.uint8(255) - _quantise(film, 8)
        _add_palette(dataset, style)
    else:
        grey = to_stored_values(np.ascontiguousarray(film), style)
        stored = grey.stored
        _add_grey_scale(dataset, grey, style)
    stored = np.ascontiguousarray(stored)
    dataset.PixelData = pixel_data([stored] * style.frames, style.syntax, style.bits_stored)
    dataset["PixelData"].VR = "OB" if not style.syntax.native or style.bits_stored == 8 else "OW"
    if style.syntax is TransferSyntax.IMPLICIT_LE:
        dataset["PixelData"].VR = "OW"
    if not style.syntax.native:
        dataset["PixelData"].is_undefined_length = True


def _colour(film: NDArray[np.float32], style: DicomStyle) -> NDArray[np.uint8]:
    """Return a grey film as three samples. JPEG codecs convert RGB to YBR themselves."""
    grey = _quantise(film, 8).astype(np.uint8)
    middle = np.full_like(grey, 128)
    planes = [grey, middle, middle] if style.photometric is Photometric.YBR_FULL else [grey, grey, grey]
    return np.stack(planes, axis=0 if style.planar else -1)


def _add_palette(dataset: Dataset, style: DicomStyle) -> None:
    """Add a palette that is an inverted grey ramp, so that a reader which ignores it gets a negative."""
    ramp = np.arange(255, -1, -1, dtype=np.uint16) * np.uint16(257)
    for colour in ("Red", "Green", "Blue"):
        setattr(dataset, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(dataset, f"{colour}PaletteColorLookupTableData", _table_bytes(ramp, style))


def _table_bytes(table: NDArray[np.uint16], style: DicomStyle) -> bytes:
    return table.astype(">u2" if style.syntax is TransferSyntax.EXPLICIT_BE else "<u2").tobytes()


def _add_grey_scale(dataset: Dataset, grey: GreyScale, style: DicomStyle) -> None:
    dataset.PresentationLUTShape = "INVERSE" if style.photometric is Photometric.MONOCHROME1 else "IDENTITY"
    if grey.slope is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = grey.slope, grey.intercept, "US"
    if grey.modality_lut is not None:
        item = _lut_item(grey.modality_lut, grey.lut_first, style)
        item.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = Sequence([item])
    if grey.centre is not None:
        dataset.WindowCenter, dataset.WindowWidth = f"{grey.centre:.10g}", f"{grey.width:.10g}"
        if style.voi is not Voi.LINEAR:
            dataset.VOILUTFunction = style.voi.value
    if grey.voi_lut is not None:
        dataset.VOILUTSequence = Sequence([_lut_item(grey.voi_lut, grey.voi_first, style)])
    if grey.padding is not None:
        dataset.add_new("PixelPaddingValue", "SS" if style.signed else "US", grey.padding)


def _lut_item(table: NDArray[np.uint16], first: int, style: DicomStyle) -> Dataset:
    item = Dataset()
    # A count of 65,536 is written as 0. The second value is signed if the pixels are (PS3.3 C.11.1.1, C.11.2.1.1).
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(table) % 65536, first, 16])
    item.add_new("LUTData", "OW", _table_bytes(table, style))
    return item
