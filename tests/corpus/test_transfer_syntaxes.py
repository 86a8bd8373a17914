"""Decoding returns the encoded stored values, for every transfer syntax, bit depth, sign and fragmentation."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSLossless,
    RLELossless,
)

from cxr_schemas import SourceFormat
from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.codecs.transfer_syntaxes import SYNTAXES
from cxrlib.reading.read import read_film, read_raw
from cxrlib.settings import Settings
from tests.support.film_files import ABSENT, LOSSLESS, LOSSY, NATIVE, dicom, encode, film

SETTINGS = Settings()
NO_KEY = Pseudonymiser.of(SETTINGS.privacy)


def stored(data: bytes) -> np.ndarray:
    return read_raw(data, SETTINGS, NO_KEY).pixels


def name(syntax: str) -> str:
    return UID(syntax).name


def test_every_supported_syntax_is_tested_here() -> None:
    assert {str(syntax) for syntax in (*LOSSLESS, *LOSSY)} == set(SYNTAXES)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=name)
def test_lossless_syntax_returns_the_stored_values(syntax: str, bits: int) -> None:
    pixels = film(bits=bits)
    assert np.array_equal(stored(dicom(pixels, syntax, bits)), pixels)


@pytest.mark.parametrize("syntax", LOSSY, ids=name)
def test_lossy_syntax_stays_close_to_the_stored_values(syntax: str) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    pixels = film(bits=bits)
    error = np.abs(stored(dicom(pixels, syntax, bits)).astype(int) - pixels)
    assert error.mean() < 0.01 * 2**bits


@pytest.mark.parametrize("syntax", LOSSLESS, ids=name)
def test_negative_stored_values_keep_their_sign(syntax: str) -> None:
    pixels = film(bits=12).astype(np.int16) - 2048
    signed = {"PixelRepresentation": 1}
    assert np.array_equal(stored(dicom(pixels, syntax, 12, signed)), pixels)


def test_sign_of_jpeg_2000_overrides_the_header() -> None:
    pixels = film(bits=12).astype(np.int16) - 2048
    import imagecodecs

    frame = imagecodecs.jpeg2k_encode(pixels, reversible=True, bitspersample=12, codecformat="J2K")
    assert np.array_equal(stored(dicom(pixels, JPEG2000Lossless, 12, frame=frame)), pixels)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless], ids=name)
def test_overlay_bits_above_the_stored_ones_are_cleared(syntax: str) -> None:
    pixels = film(bits=12)
    with_overlay = pixels | (np.uint16(1) << 15) * (np.indices(pixels.shape).sum(0) % 2).astype(np.uint16)
    if syntax == RLELossless:
        data = dicom(pixels, syntax, 12, frame=encode(with_overlay, syntax, 16))
    else:
        data = dicom(with_overlay, syntax, 12)
    assert np.array_equal(stored(data), pixels)


def test_high_bit_above_the_stored_bits_is_shifted_down() -> None:
    pixels = film(bits=12)
    assert np.array_equal(stored(dicom(pixels << 4, bits=12, elements={"HighBit": 15})), pixels)


@pytest.mark.parametrize("fragments", [2, 7])
@pytest.mark.parametrize("syntax", [JPEGExtended12Bit, JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=name)
def test_fragments_of_a_frame_are_joined(syntax: str, fragments: int) -> None:
    whole = dicom(film(), syntax)
    assert np.array_equal(stored(dicom(film(), syntax, fragments=fragments)), stored(whole))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=name)
def test_bare_data_set_without_preamble_and_meta_is_read(syntax: str) -> None:
    pixels = film()
    data = dicom(pixels, syntax, part10=False)
    raw = read_raw(data, SETTINGS, NO_KEY)
    assert np.array_equal(raw.pixels, pixels)
    assert raw.facts.source_format is SourceFormat.DICOM
    assert raw.facts.transfer_syntax == syntax


def test_file_meta_without_preamble_is_read() -> None:
    assert np.array_equal(stored(dicom(film(), JPEGLSLossless)[132:]), film())


@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_of_lossless_jpeg_is_decoded(predictor: int) -> None:
    frame = encode(film(), JPEGLossless, 12, predictor)
    assert np.array_equal(stored(dicom(film(), JPEGLossless, frame=frame)), film())


@pytest.mark.parametrize("labelled", [JPEGBaseline8Bit, JPEG2000Lossless, HTJ2KLossless], ids=name)
def test_codestream_overrides_a_wrong_transfer_syntax(labelled: str) -> None:
    frame = encode(film(), JPEGLSLossless, 12)
    assert np.array_equal(stored(dicom(film(), labelled, frame=frame)), film())


def test_jpeg_2000_with_a_comment_after_its_last_tile_part_is_repaired() -> None:
    frame = encode(film(), JPEG2000Lossless, 12)
    padded = frame[:-2] + b"\xff\x64\x00\x0b\x00\x01PADDING" + frame[-2:]
    assert np.array_equal(stored(dicom(film(), JPEG2000Lossless, frame=padded)), film())


@pytest.mark.parametrize("syntax", LOSSLESS, ids=name)
def test_all_lossless_syntaxes_give_the_same_network_input(syntax: str) -> None:
    reference = read_film(dicom(film()), SETTINGS, 96, 64).pixels
    assert np.array_equal(read_film(dicom(film(), syntax), SETTINGS, 96, 64).pixels, reference)


@pytest.mark.parametrize("by_plane", [0, 1])
@pytest.mark.parametrize("syntax", [*NATIVE, RLELossless], ids=name)
def test_grey_rgb_is_read_in_either_planar_configuration(syntax: str, by_plane: int) -> None:
    grey = film(bits=8)
    rgb = np.stack([grey] * 3, axis=2)
    layout = {"PlanarConfiguration": by_plane}
    native = np.moveaxis(rgb, 2, 0) if by_plane and syntax in NATIVE else rgb
    frame = np.ascontiguousarray(native).astype(np.uint8).tobytes() if syntax in NATIVE else None
    assert np.array_equal(stored(dicom(rgb, syntax, 8, layout, frame=frame)), grey)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_grey_colour_jpeg_is_read_under_any_photometric_interpretation(photometric: str) -> None:
    rgb = np.stack([film(bits=8)] * 3, axis=2).astype(np.uint8)
    data = dicom(rgb, JPEGBaseline8Bit, 8, {"PhotometricInterpretation": photometric})
    assert np.abs(stored(data).astype(int) - rgb[..., 0]).max() <= 8


def test_rgb_jpeg_without_a_colour_model_marker_is_read() -> None:
    import imagecodecs

    rgb = np.stack([film(bits=8)] * 3, axis=2).astype(np.uint8)
    marked = imagecodecs.jpeg8_encode(rgb, 95, colorspace="RGB", outcolorspace="RGB")
    at = marked.index(b"\xff\xee")
    unmarked = marked[:at] + marked[at + 2 + int.from_bytes(marked[at + 2 : at + 4], "big") :]
    # Component ids R, G, B would reveal it too, so number them as most encoders do.
    for letter, number in ((b"R", b"\1"), (b"G", b"\2"), (b"B", b"\3")):
        for marker in (b"\xff\xc0", b"\xff\xda"):
            start = unmarked.index(marker)
            unmarked = (
                unmarked[:start] + unmarked[start : start + 20].replace(letter, number, 1) + unmarked[start + 20 :]
            )
    assert np.abs(stored(dicom(rgb, JPEGBaseline8Bit, 8, frame=unmarked)).astype(int) - rgb[..., 0]).max() <= 8


def test_native_ybr_with_neutral_chroma_is_read() -> None:
    grey = film(bits=8)
    neutral = np.full_like(grey, 128)
    ybr = np.stack([grey, neutral, neutral], axis=2)
    assert np.array_equal(stored(dicom(ybr, bits=8, elements={"PhotometricInterpretation": "YBR_FULL"})), grey)


def test_native_ybr_422_shares_chroma_between_pairs_of_pixels() -> None:
    grey = film(bits=8).astype(np.uint8)
    pairs = grey.reshape(grey.shape[0], -1, 2)
    quads = np.concatenate([pairs, np.full_like(pairs, 128)], axis=2)
    rgb = np.stack([grey] * 3, axis=2)
    data = dicom(rgb, bits=8, elements={"PhotometricInterpretation": "YBR_FULL_422"}, frame=quads.tobytes())
    assert np.array_equal(stored(data), grey)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless], ids=name)
@pytest.mark.parametrize("bits", [8, 16])
def test_grey_palette_is_looked_up(syntax: str, bits: int) -> None:
    grey = film(bits=8)
    ramp = (np.arange(256)[::-1] * (257 if bits == 16 else 1)).astype(np.uint16 if bits == 16 else np.uint8)
    palette = {
        f"{colour}PaletteColorLookupTable{part}": value
        for colour in ("Red", "Green", "Blue")
        for part, value in (("Descriptor", [256, 0, bits]), ("Data", ramp.tobytes()))
    }
    data = dicom(grey, syntax, 8, {"PhotometricInterpretation": "PALETTE COLOR", **palette})
    assert np.array_equal(stored(data), ramp[grey])


def test_missing_bits_stored_and_high_bit_default_to_bits_allocated() -> None:
    pixels = film(bits=16)
    assert np.array_equal(stored(dicom(pixels, bits=16, elements={"BitsStored": ABSENT, "HighBit": ABSENT})), pixels)


def test_deflated_film_longer_than_the_first_inflated_piece_is_read() -> None:
    pixels = film(1024, 768)
    assert pixels.nbytes > 2**20
    assert np.array_equal(stored(dicom(pixels, DeflatedExplicitVRLittleEndian)), pixels)
