"""Encoding phantoms: every style round-trips and displays as the phantom."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from cxrlib.errors import FilmError
from cxrlib.phantom import Phantom, make_phantom
from cxrlib.phantom.bad_films import BadKind, make_bad_film
from cxrlib.phantom.dicom_style import MIXED_STYLES, DicomStyle, ModalityMap, Photometric, Position, Voi
from cxrlib.phantom.encode import derived_uid, encode_dicom, encode_jpeg, encode_mask, encode_png
from cxrlib.phantom.stored_values import to_stored_values
from cxrlib.phantom.transfer_syntax import TransferSyntax, compress
from cxrlib.reading.read import read_film
from cxrlib.settings import Settings

ROWS, COLUMNS = 320, 288
SIGNED = {"signed": True, "modality_map": ModalityMap.RESCALE}
STYLES = (
    *MIXED_STYLES,
    DicomStyle(TransferSyntax.JPEG_BASELINE, Photometric.YBR_FULL_422, 8, voi=Voi.NONE),
    DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS, bits_stored=12, **SIGNED),
    DicomStyle(TransferSyntax.JPEG_LOSSLESS_SV1, bits_stored=12, **SIGNED),
    DicomStyle(TransferSyntax.HTJ2K_LOSSLESS, bits_stored=16, **SIGNED),
    DicomStyle(TransferSyntax.RLE, bits_stored=13, **SIGNED),
    DicomStyle(bits_stored=16, signed=True, voi=Voi.LUT),
    DicomStyle(TransferSyntax.EXPLICIT_BE, bits_stored=16, voi=Voi.LUT, modality_map=ModalityMap.LUT),
    DicomStyle(TransferSyntax.EXPLICIT_BE, Photometric.PALETTE, 8, voi=Voi.NONE),
    DicomStyle(preamble=False),
)
DECODERS = {
    TransferSyntax.JPEG_BASELINE: imagecodecs.jpeg8_decode,
    TransferSyntax.JPEG_EXTENDED: imagecodecs.jpeg8_decode,
    # A different library than the encoder.
    TransferSyntax.JPEG_LOSSLESS: imagecodecs.ljpeg_decode,
    TransferSyntax.JPEG_LOSSLESS_SV1: imagecodecs.jpegsof3_decode,
    TransferSyntax.JPEG_LS: imagecodecs.jpegls_decode,
    TransferSyntax.JPEG_LS_NEAR: imagecodecs.jpegls_decode,
    TransferSyntax.JPEG_2000_LOSSLESS: imagecodecs.jpeg2k_decode,
    TransferSyntax.JPEG_2000: imagecodecs.jpeg2k_decode,
    TransferSyntax.HTJ2K_LOSSLESS: imagecodecs.jpeg2k_decode,
    TransferSyntax.HTJ2K: imagecodecs.jpeg2k_decode,
}


def named(style: DicomStyle) -> str:
    kind = f"{style.syntax.name}-{style.photometric.value}-{style.bits_stored}-{style.voi.value}"
    return kind + ("-signed" if style.signed else "") + ("" if style.preamble else "-bare")


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(123456, rows=ROWS, columns=COLUMNS, percent=30.0)


def read_back(data: bytes) -> tuple[pydicom.Dataset, NDArray[np.integer]]:
    """Return the dataset and the stored values of its first frame, with their sign."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = (
            dataset.original_encoding[0] and "1.2.840.10008.1.2"
        ) or "1.2.840.10008.1.2.1"
    syntax = TransferSyntax(str(dataset.file_meta.TransferSyntaxUID))
    if syntax not in DECODERS:
        return dataset, dataset.pixel_array
    frame = np.asarray(DECODERS[syntax](next(generate_frames(dataset.PixelData, number_of_frames=1))))
    if dataset.PixelRepresentation and frame.dtype.kind == "u":
        shift = 16 - dataset.BitsStored
        frame = (frame << shift).view(np.int16) >> shift
    return dataset, frame


@pytest.mark.parametrize("style", STYLES, ids=named)
def test_stored_values_round_trip(phantom: Phantom, style: DicomStyle) -> None:
    dataset, frame = read_back(encode_dicom(phantom, style))
    film = phantom.pixels[:, ::-1] if style.mirrored else phantom.pixels
    if style.photometric is Photometric.PALETTE:
        expected = 255 - np.rint(film * 255)
    elif style.photometric.colour:
        expected, frame = np.rint(film * 255), frame[..., 0]
    else:
        expected = to_stored_values(film, style).stored
    error = np.abs(frame.astype(np.int64) - expected.astype(np.int64))
    assert dataset.BitsStored == style.bits_stored
    if style.syntax.lossless:
        assert error.max() == 0
    else:
        assert 0 < error.max() <= 0.06 * 2**style.bits_stored
        assert error.mean() < 0.01 * 2**style.bits_stored


@pytest.mark.parametrize("style", [style for style in STYLES if style.voi is not Voi.NONE], ids=named)
def test_read_film_restores_the_phantom(phantom: Phantom, style: DicomStyle) -> None:
    image = read_film(encode_dicom(phantom, style), Settings(), ROWS, COLUMNS)
    error = np.abs(image.pixels - phantom.pixels)
    step = 1.0 / (0.78 * (2**style.bits_stored - 1))
    if style.syntax.lossless:
        assert error.max() <= max(1.2 * step, 0.0045)
    assert error.mean() < max(step, 0.006)
    assert image.facts.mirrored == style.mirrored
    assert image.facts.inverted == (style.photometric is Photometric.MONOCHROME1)
    spacing = None if not style.spacing else (pytest.approx(phantom.spacing_mm, rel=1e-5),) * 2
    assert image.facts.spacing_mm == spacing


@pytest.mark.parametrize("style", [style for style in STYLES if style.voi is Voi.NONE], ids=named)
def test_film_without_window_correlates_with_the_phantom(phantom: Phantom, style: DicomStyle) -> None:
    image = read_film(encode_dicom(phantom, style), Settings(), ROWS, COLUMNS)
    assert np.corrcoef(image.pixels[:, 8:-8].ravel(), phantom.pixels[:, 8:-8].ravel())[0, 1] > 0.99


def test_same_phantom_and_style_give_the_same_bytes(phantom: Phantom) -> None:
    again = make_phantom(123456, rows=ROWS, columns=COLUMNS, percent=30.0)
    for style in MIXED_STYLES[:6]:
        assert encode_dicom(phantom, style) == encode_dicom(again, style)


def test_mixed_styles_cover_all_syntaxes_and_options() -> None:
    assert {style.syntax for style in MIXED_STYLES} == set(TransferSyntax)
    assert set(range(8, 17)) == {style.bits_stored for style in MIXED_STYLES}
    assert set(Photometric) - {Photometric.YBR_FULL_422} == {style.photometric for style in MIXED_STYLES}
    assert set(Voi) == {style.voi for style in MIXED_STYLES}
    assert set(ModalityMap) == {style.modality_map for style in MIXED_STYLES}


def test_header_is_that_of_a_fictitious_patient(phantom: Phantom) -> None:
    dataset = pydicom.dcmread(io.BytesIO(encode_dicom(phantom, DicomStyle())))
    assert dataset.PatientID == "PHANTOM-123456"
    for uid in (dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID):
        assert uid.is_valid
        assert uid.startswith("2.25.")
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID
    assert len({dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID}) == 3
    assert derived_uid("a", 1) == derived_uid("a", 1) != derived_uid("a", 2)


def test_frames_view_and_omitted_parts_follow_the_style(phantom: Phantom) -> None:
    style = DicomStyle(TransferSyntax.JPEG_LS, bits_stored=8, frames=3, position=Position.LL, spacing=False)
    dataset = pydicom.dcmread(io.BytesIO(encode_dicom(phantom, style)))
    assert dataset.NumberOfFrames == 3
    assert len(list(generate_frames(dataset.PixelData, number_of_frames=3))) == 3
    assert dataset.ViewPosition == "LL"
    assert "ImagerPixelSpacing" not in dataset
    bare = encode_dicom(phantom, replace(DicomStyle(), preamble=False, file_meta=False))
    assert bare[128:132] != b"DICM"
    assert b"1.2.840.10008.1.2.1\0" not in bare[:400]


def test_padding_is_at_the_sides_and_covers_no_lung(phantom: Phantom) -> None:
    grey = to_stored_values(phantom.pixels, DicomStyle(TransferSyntax.DEFLATED, padding=True))
    padded = grey.stored == grey.padding
    assert padded[:, 0].all()
    assert padded[:, -1].all()
    assert not (padded & phantom.lung).any()


@pytest.mark.parametrize(
    "options",
    [
        {"syntax": TransferSyntax.JPEG_BASELINE, "bits_stored": 12},
        {"syntax": TransferSyntax.JPEG_LS, "bits_stored": 10},
        {"syntax": TransferSyntax.RLE, "file_meta": False, "preamble": False},
        {"file_meta": False},
        {"photometric": Photometric.RGB, "bits_stored": 12},
        {"photometric": Photometric.YBR_FULL_422, "bits_stored": 8, "voi": Voi.NONE},
        {"syntax": TransferSyntax.JPEG_EXTENDED, "signed": True},
        {"syntax": TransferSyntax.JPEG_2000, "padding": True},
        {"planar": True},
        {"frames": 0},
        {"bits_stored": 7},
    ],
    ids=str,
)
def test_invalid_style_is_rejected(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="invalid DICOM style"):
        DicomStyle(**options)  # type: ignore[arg-type]


def test_native_syntax_does_not_compress(phantom: Phantom) -> None:
    with pytest.raises(ValueError, match="does not compress"):
        compress(to_stored_values(phantom.pixels, DicomStyle()).stored, TransferSyntax.EXPLICIT_LE, 12)


def test_png_jpeg_and_mask_round_trip(phantom: Phantom) -> None:
    for bits in (8, 16):
        pixels = cv2.imdecode(np.frombuffer(encode_png(phantom, bits), np.uint8), cv2.IMREAD_UNCHANGED)
        assert pixels.itemsize * 8 == bits
        np.testing.assert_allclose(pixels / (2**bits - 1), phantom.pixels, atol=0.51 / (2**bits - 1) + 1e-6)
    jpeg = imagecodecs.jpeg8_decode(encode_jpeg(phantom))
    assert jpeg.shape == (ROWS, COLUMNS)
    assert np.abs(jpeg / 255 - phantom.pixels).mean() < 0.01
    mask = cv2.imdecode(np.frombuffer(encode_mask(phantom.lung), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.array_equal(mask > 127, phantom.lung)
    with pytest.raises(ValueError, match="8 or 16 bits"):
        encode_png(phantom, 12)


@pytest.mark.parametrize("kind", BadKind)
def test_bad_object_is_rejected_with_its_reason(kind: BadKind) -> None:
    data = make_bad_film(kind, 77, rows=ROWS, columns=COLUMNS)
    assert data == make_bad_film(kind, 77, rows=ROWS, columns=COLUMNS)
    with pytest.raises(FilmError) as got:
        read_film(data, Settings(), 256, 256)
    assert got.value.reason is kind.reason
