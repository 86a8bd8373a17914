"""Files of every kind that reading rejects, and the reason of each."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
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
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading import read_film
from cxrlib.settings import ReadSettings, Settings
from tests.support.film_files import ABSENT, dataset, dicom, encode, film, jpeg, png, serialise

LOW_LIMITS = Settings(read=ReadSettings(max_pixels=200_000, max_bytes=1_000_000))
RGB_PHOTO = np.stack([film(bits=8), film(bits=8)[::-1], film(bits=8)[:, ::-1]], axis=2).astype(np.uint8)


def reason_of(data: bytes, settings: Settings | None = None) -> Reason:
    with pytest.raises(FilmError) as caught:
        read_film(data, settings or Settings(), 64, 64)
    return caught.value.reason


def with_elements(**elements: object) -> bytes:
    return dicom(film(), elements=elements)


def view_code(value: str, meaning: str, scheme: str = "SCT") -> list[object]:
    item = dataset(film()).__class__()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def without_end(stream: bytes) -> bytes:
    """Return the first half of a codestream."""
    return stream[: len(stream) // 2]


NOT_AN_IMAGE = {
    "text": b"uri,size\nfilm.dcm,12\n" * 20,
    "zeros": bytes(4096),
    "pdf": b"%PDF-1.7\n" + bytes(500),
    "gif": b"GIF89a" + bytes(500),
    "tiff": b"II*\0" + bytes(500),
    "one byte": b"\x00",
    "jpeg-ls outside dicom": bytes(imagecodecs.jpegls_encode(film())),
}


@pytest.mark.parametrize("data", NOT_AN_IMAGE.values(), ids=NOT_AN_IMAGE.keys())
def test_other_files_are_not_an_image(data: bytes) -> None:
    assert reason_of(data) is Reason.NOT_AN_IMAGE


def test_file_without_bytes_is_empty() -> None:
    assert reason_of(b"") is Reason.EMPTY


NO_PIXELS = {
    "header alone": serialise(dataset(film())),
    "report without modality": serialise(dataset(film(), elements={"Modality": ABSENT, "SOPClassUID": ABSENT})),
    "deflated header alone": serialise(dataset(film()), DeflatedExplicitVRLittleEndian),
}


@pytest.mark.parametrize("data", NO_PIXELS.values(), ids=NO_PIXELS.keys())
def test_object_without_pixel_data_has_no_pixels(data: bytes) -> None:
    assert reason_of(data) is Reason.NO_PIXELS


def test_float_pixel_data_count_as_no_pixels() -> None:
    data_set = dataset(film())
    data_set.FloatPixelData = film().astype(np.float32).tobytes()
    assert reason_of(serialise(data_set)) is Reason.NO_PIXELS


@pytest.mark.parametrize("modality", ["CT", "MR", "SR", "MG", "XYZ"])
def test_other_modality_is_rejected(modality: str) -> None:
    assert reason_of(with_elements(Modality=modality)) is Reason.WRONG_MODALITY


def test_sop_class_of_another_modality_is_rejected_if_the_modality_is_missing() -> None:
    ct = with_elements(Modality=ABSENT, SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    assert reason_of(ct) is Reason.WRONG_MODALITY


@pytest.mark.parametrize("part", ["HAND", "ABDOMEN", "TSPINE", "SKULL", "TRIBUTARY"])
def test_other_body_part_is_rejected(part: str) -> None:
    assert reason_of(with_elements(BodyPartExamined=part)) is Reason.WRONG_BODY_PART


def test_other_anatomic_region_is_rejected_if_the_body_part_is_missing() -> None:
    hip = with_elements(BodyPartExamined=ABSENT, AnatomicRegionSequence=view_code("29836001", "Hip"))
    assert reason_of(hip) is Reason.WRONG_BODY_PART


LATERAL = {
    "view position": {"ViewPosition": "LL"},
    "view position in full": {"ViewPosition": "LATERAL"},
    "oblique": {"ViewPosition": "RAO"},
    "decubitus": {"ViewPosition": "LLD"},
    "view code": {"ViewPosition": ABSENT, "ViewCodeSequence": view_code("399173006", "left lateral")},
    "older view code": {"ViewPosition": ABSENT, "ViewCodeSequence": view_code("R-10236", "left lateral", "SRT")},
    "patient orientation": {"ViewPosition": ABSENT, "PatientOrientation": ["A", "F"]},
    "series description": {"ViewPosition": ABSENT, "SeriesDescription": "view: LATERAL"},
    "processing": {"ViewPosition": "", "AcquisitionDeviceProcessingDescription": "CHEST LAT"},
}


@pytest.mark.parametrize("elements", LATERAL.values(), ids=LATERAL.keys())
def test_lateral_view_in_any_header_element_is_rejected(elements: dict[str, object]) -> None:
    assert reason_of(with_elements(**elements)) is Reason.LATERAL_VIEW


def test_several_frames_are_rejected() -> None:
    assert reason_of(with_elements(NumberOfFrames=2)) is Reason.MULTI_FRAME


def test_video_transfer_syntax_is_unsupported() -> None:
    video = UID("1.2.840.10008.1.2.4.102")
    data_set = dataset(film())
    data_set.PixelData = encapsulate([b"\0\0\0\1abcd"])
    data_set["PixelData"].VR = "OB"
    data_set["PixelData"].is_undefined_length = True
    assert reason_of(serialise(data_set, video)) is Reason.UNSUPPORTED_SYNTAX


TOO_SMALL = {
    "dicom": lambda: dicom(film(100, 300)),
    "png": lambda: png(film(300, 100)),
    "jpeg": lambda: jpeg(film(64, 64, bits=8)),
    "no rows": lambda: with_elements(Rows=0),
}


@pytest.mark.parametrize("make", TOO_SMALL.values(), ids=TOO_SMALL.keys())
def test_film_below_the_minimum_side_is_too_small(make: Callable[[], bytes]) -> None:
    assert reason_of(make()) is Reason.TOO_SMALL


def huge_png() -> bytes:
    """Return a PNG whose header declares 10^10 pixels."""
    whole = png(film())
    return whole[:16] + (100_000).to_bytes(4, "big") * 2 + whole[24:]


def huge_jpeg() -> bytes:
    stream = jpeg(film(bits=8))
    at = stream.index(b"\xff\xc0")
    return stream[: at + 5] + b"\xff\xdc\xff\xdc" + stream[at + 9 :]


def deflated_bomb() -> bytes:
    """Return a deflated film whose pixel data continue with 64 MiB of zeros."""
    plain = dicom(film(), DeflatedExplicitVRLittleEndian)
    meta = plain[: 132 + 12 + int.from_bytes(plain[140:144], "little")]
    body = zlib.decompress(plain[len(meta) :], -zlib.MAX_WBITS)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return meta + deflate.compress(body) + deflate.compress(bytes(2**26)) + deflate.flush()


TOO_LARGE = {
    "pixels of a header": lambda: dicom(film(), elements={"Rows": 60000, "Columns": 60000}),
    "pixels of a png": huge_png,
    "pixels of a jpeg": huge_jpeg,
    "pixels of a codestream that contradicts the header": lambda: dicom(
        film(bits=8), JPEGBaseline8Bit, 8, frame=huge_jpeg()
    ),
    "bytes": lambda: png(film()) + bytes(1_000_001),
    "bytes of a deflated stream": deflated_bomb,
}


@pytest.mark.parametrize("make", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_film_beyond_the_limits_is_too_large(make: Callable[[], bytes]) -> None:
    assert reason_of(make(), LOW_LIMITS) is Reason.TOO_LARGE


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGExtended12Bit,
        JPEGLosslessSV1,
        JPEGLSLossless,
        JPEG2000Lossless,
        HTJ2KLossless,
    ],
    ids=lambda syntax: syntax.name,
)
def test_dicom_file_cut_anywhere_in_its_pixel_data_is_truncated(syntax: UID, share: float) -> None:
    whole = dicom(film(), syntax)
    header = len(serialise(dataset(film()), syntax)) if syntax != DeflatedExplicitVRLittleEndian else 1000
    assert reason_of(whole[: header + int(share * (len(whole) - header))]) is Reason.TRUNCATED


def test_dicom_file_cut_within_its_header_is_truncated() -> None:
    whole = serialise(dataset(film()))
    assert reason_of(whole[: whole.index(b"CHEST") + 3]) is Reason.TRUNCATED


@pytest.mark.parametrize(
    "syntax",
    [JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless],
    ids=lambda s: s.name,
)
def test_cut_codestream_in_a_complete_container_is_truncated(syntax: UID) -> None:
    frame = without_end(encode(film(), syntax, 12))
    assert reason_of(dicom(film(), syntax, frame=frame)) is Reason.TRUNCATED


def test_pixel_data_shorter_than_rows_times_columns_are_truncated() -> None:
    assert reason_of(dicom(film(), frame=film()[:-1].tobytes())) is Reason.TRUNCATED


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
def test_native_film_that_ends_in_zeros_is_truncated(share: float) -> None:
    flat = film().ravel().copy()
    flat[int((1 - share) * flat.size) + 37 :] = 0
    assert reason_of(dicom(flat.reshape(film().shape))) is Reason.TRUNCATED


def test_native_film_cut_between_two_rows_is_truncated() -> None:
    pixels = film()
    pixels[100:] = 0
    assert reason_of(dicom(pixels)) is Reason.TRUNCATED


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1], ids=lambda s: s.name)
def test_cut_jpeg_with_an_end_marker_is_truncated_because_of_its_flat_end(syntax: UID) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    cut = without_end(encode(film(bits=bits), syntax, bits)) + b"\xff\xd9"
    assert reason_of(dicom(film(bits=bits), syntax, bits, frame=cut)) is Reason.TRUNCATED


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("make", [lambda: png(film()), lambda: jpeg(film(bits=8))], ids=["png", "jpeg"])
def test_png_and_jpeg_cut_anywhere_are_truncated(make: Callable[[], bytes], share: float) -> None:
    whole = make()
    assert reason_of(whole[: max(10, int(share * len(whole)))]) is Reason.TRUNCATED


NOT_GREY = {
    "png": lambda: png(RGB_PHOTO),
    "jpeg": lambda: bytes(imagecodecs.jpeg8_encode(RGB_PHOTO, 95)),
    "rgb dicom": lambda: dicom(RGB_PHOTO, bits=8),
    "rgb jpeg in dicom": lambda: dicom(RGB_PHOTO, JPEGBaseline8Bit, 8, {"PhotometricInterpretation": "YBR_FULL_422"}),
    "native ybr": lambda: dicom(RGB_PHOTO, bits=8, elements={"PhotometricInterpretation": "YBR_FULL"}),
}


@pytest.mark.parametrize("make", NOT_GREY.values(), ids=NOT_GREY.keys())
def test_colour_photograph_is_not_grey(make: Callable[[], bytes]) -> None:
    assert reason_of(make()) is Reason.NOT_GREY


CONSTANT = {
    "dicom": lambda: dicom(np.full((160, 160), 700, np.uint16)),
    "png": lambda: png(np.zeros((160, 160), np.uint8)),
    "all but a label": lambda: png(np.pad(np.full((8, 8), 255, np.uint8), ((4, 200), (4, 200)))),
}


@pytest.mark.parametrize("make", CONSTANT.values(), ids=CONSTANT.keys())
def test_film_of_one_value_is_constant(make: Callable[[], bytes]) -> None:
    assert reason_of(make()) is Reason.CONSTANT


def scrambled(stream: bytes) -> bytes:
    """Return a codestream with noise instead of compressed data, and its markers at both ends."""
    noise = np.random.default_rng(3).integers(0, 255, len(stream) - 400).astype(np.uint8).tobytes()
    return stream[:300] + noise + stream[-100:]


DECODER_FAILED = {
    "no codestream": lambda: dicom(film(), JPEGLSLossless, frame=b"\x01\x02" * 500),
    "noise in jpeg-ls": lambda: dicom(film(), JPEGLSLossless, frame=scrambled(encode(film(), JPEGLSLossless, 12))),
    "codestream of another size": lambda: dicom(
        film(), JPEGLSLossless, frame=encode(film(200, 180), JPEGLSLossless, 12)
    ),
    "invalid run lengths": lambda: dicom(film(), RLELossless, frame=b"\x02\0\0\0" + b"\xff" * 200),
    "contradictory bits": lambda: dicom(film(), elements={"BitsStored": 14, "HighBit": 9}),
    "32 bits": lambda: dicom(film(), elements={"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}),
    "png of noise": lambda: png(film())[:60] + b"\xaa" * 40 + png(film())[100:],
}


@pytest.mark.parametrize("make", DECODER_FAILED.values(), ids=DECODER_FAILED.keys())
def test_undecodable_or_contradictory_bytes_have_reason_decoder_failed(make: Callable[[], bytes]) -> None:
    assert reason_of(make()) is Reason.DECODER_FAILED


ORDER = [
    (Reason.WRONG_MODALITY, {"Modality": "CT"}),
    (Reason.WRONG_BODY_PART, {"BodyPartExamined": "HAND"}),
    (Reason.LATERAL_VIEW, {"ViewPosition": "LL"}),
    (Reason.MULTI_FRAME, {"NumberOfFrames": 3}),
    (Reason.TOO_SMALL, {"Rows": 20}),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_film_with_several_faults_gets_the_first_reason_of_the_fixed_order(first: int) -> None:
    elements: dict[str, object] = {}
    for _, fault in ORDER[first:]:
        elements.update(fault)
    assert reason_of(with_elements(**elements)[:-1000]) is ORDER[first][0]


def test_no_error_repeats_a_value_of_the_header() -> None:
    name_in_header = "MUSTERMANN"
    for elements in (
        {"BodyPartExamined": name_in_header},
        {"Modality": name_in_header},
        {"ViewPosition": f"LAT {name_in_header}"},
        {"PhotometricInterpretation": name_in_header},
        {"Rows": 3, "SeriesDescription": name_in_header},
    ):
        with pytest.raises(FilmError) as caught:
            read_film(with_elements(**elements), Settings(), 64, 64)
        assert name_in_header not in str(caught.value) + repr(caught.value.__cause__)
