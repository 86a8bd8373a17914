"""JPEG of 8 bits decodes to the same pixels as other libjpeg-turbo wrappers, and damaged data are rejected."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit, JPEGLossless

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading import read_film
from cxrlib.reading.codecs import jpeg
from cxrlib.reading.codecs.decode import decode_codestream
from cxrlib.reading.codecs.frame_header import read_frame_header
from cxrlib.reading.reduced_resolution import decode_reduced
from cxrlib.settings import ReadSettings, Settings
from tests.support.film_files import dicom, encode, film

FILM = film(301, 262, bits=8).astype(np.uint8)
WAYS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
}
COLOURS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:2:0": {"subsampling": "4:2:0"},
    "not transformed": {"keep_rgb": True},
}


def stream(pixels: NDArray[np.uint8] = FILM, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=92, **options)
    return out.getvalue()


def coloured() -> NDArray[np.uint8]:
    return np.stack([FILM, np.roll(FILM, 9, 0), 255 - FILM], axis=2)


def decoded(data: bytes) -> NDArray[np.uint8]:
    header = read_frame_header(data)
    assert jpeg.can_be_checked(header)
    found = jpeg.decode(data, header)
    assert found is not None
    return found


@pytest.mark.parametrize("way", WAYS)
def test_grey_equals_that_of_imagecodecs(way: str) -> None:
    data = stream(**WAYS[way])
    np.testing.assert_array_equal(decoded(data), imagecodecs.jpeg8_decode(data))


@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_jpeg_gives_the_film(predictor: int) -> None:
    data = encode(FILM, JPEGLossless, 8, lossless_predictor=predictor)
    np.testing.assert_array_equal(decoded(data), FILM)
    # libjpeg crashes when it decodes this at half size.
    assert not jpeg.can_be_halved(read_frame_header(data))
    assert decode_reduced(data, read_frame_header(data), 1) is None


@pytest.mark.parametrize("way", COLOURS)
def test_colour_equals_that_of_imagecodecs(way: str) -> None:
    data = stream(coloured(), **COLOURS[way])
    np.testing.assert_array_equal(decoded(data), imagecodecs.jpeg8_decode(data))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [(301, 262), (300, 261), (17, 9), (8, 8)])
def test_half_size_equals_that_of_pillow(way: str, size: tuple[int, int]) -> None:
    rows, columns = size
    data = stream(FILM[:rows, :columns], **WAYS[way])
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", (columns // 2, rows // 2))
        np.testing.assert_array_equal(jpeg.halve(data, read_frame_header(data)), np.asarray(image))


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.jpeg8_encode(film(80, 70), 95, bitspersample=12),
        imagecodecs.jpeg8_encode(film(80, 70), lossless=True, bitspersample=12),
        imagecodecs.jpeg2k_encode(FILM),
        imagecodecs.jpegls_encode(FILM),
    ],
    ids=["12 bits", "lossless of 12 bits", "JPEG 2000", "JPEG-LS"],
)
def test_other_streams_are_left_to_other_codecs(data: bytes) -> None:
    assert not jpeg.can_be_checked(read_frame_header(data))


def in_dicom(data: bytes) -> bytes:
    return dicom(FILM, JPEGBaseline8Bit, 8, frame=data)


def scan_of(data: bytes) -> int:
    """Return the offset of the data of the first scan."""
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def with_missing_data(data: bytes) -> bytes:
    middle = (scan_of(data) + len(data)) // 2
    return data[:middle] + data[middle + 400 :]


def with_repeated_data(data: bytes) -> bytes:
    middle = (scan_of(data) + len(data)) // 2
    return data[:middle] + data[middle - 400 :]


def with_extra_bytes(data: bytes) -> bytes:
    return data[:-2] + 20 * b"\x12" + data[-2:]


def with_extra_bytes_after_zeros(data: bytes) -> bytes:
    return data[:-2] + bytes(20) + b"\x12" + bytes(20) + data[-2:]


DAMAGE = {
    with_missing_data: Reason.TRUNCATED,
    with_repeated_data: Reason.DECODER_FAILED,
    with_extra_bytes: Reason.DECODER_FAILED,
    with_extra_bytes_after_zeros: Reason.DECODER_FAILED,
}


@pytest.mark.parametrize("spoil", list(DAMAGE))
@pytest.mark.parametrize(
    "sound",
    [stream(), stream(coloured()), imagecodecs.jpeg8_encode(FILM, lossless=True)],
    ids=["grey", "colour", "lossless"],
)
def test_damage_is_rejected(spoil: Any, sound: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    data = spoil(sound)
    header = read_frame_header(data)
    assert imagecodecs.jpeg8_decode(data).shape == imagecodecs.jpeg8_decode(sound).shape  # it says nothing
    with pytest.raises(FilmError, match="whose data fill the film") as caught:
        decode_codestream(data, header)
    assert caught.value.reason is DAMAGE[spoil]
    assert decode_reduced(data, header, 1) is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("spoil", [with_repeated_data, with_extra_bytes, with_extra_bytes_after_zeros])
@pytest.mark.parametrize("store", [bytes, in_dicom], ids=["file", "dicom"])
def test_damaged_film_is_read_if_the_setting_allows_it(spoil: Any, store: Callable[[bytes], bytes]) -> None:
    data = store(spoil(stream()))
    with pytest.raises(FilmError, match="whose data fill the film"):
        read_film(data, Settings(), 64, 64)
    film = read_film(data, Settings(read=ReadSettings(damaged_jpeg=True)), 64, 64)
    assert film.pixels.shape == (64, 64)


def test_restart_marker_out_of_order_is_damage() -> None:
    data = bytearray(stream(restart_marker_rows=1))
    data[data.index(b"\xff\xd3", scan_of(bytes(data))) + 1] = 0xD6
    with pytest.raises(FilmError, match="damaged data"):
        decoded(bytes(data))


def test_most_films_that_one_wrong_byte_changes_are_detected() -> None:
    data, whole = stream(), decoded(stream())
    start = scan_of(data)
    random = np.random.default_rng(0)
    told, silent = 0, 0
    for _ in range(60):
        wrong = bytearray(data)
        wrong[int(random.integers(start, len(data) - 2))] ^= int(random.integers(1, 256))
        try:
            silent += bool((decoded(bytes(wrong)) != whole).mean() > 0.01)
        except FilmError:
            told += 1
    assert told > silent


@pytest.mark.parametrize("zeros", [1, 2, 40])
@pytest.mark.parametrize("pixels", [FILM, coloured()], ids=["grey", "colour"])
def test_zeros_before_the_end_marker_are_padding(zeros: int, pixels: NDArray[np.uint8]) -> None:
    data = stream(pixels)
    padded = data[:-2] + bytes(zeros) + data[-2:]
    np.testing.assert_array_equal(decoded(padded), decoded(data))
    np.testing.assert_array_equal(
        jpeg.halve(padded + b"\0", read_frame_header(data)), jpeg.halve(data, read_frame_header(data))
    )


def test_zero_that_is_not_padding_is_kept() -> None:
    # Scans end in ones (F.1.2.3), so the last byte may be FF, which is written FF 00.
    ending = next(
        data
        for quality in range(50, 100)
        for rows in range(16, 300, 8)
        if (data := imagecodecs.jpeg8_encode(FILM[:rows, :64], quality)).endswith(b"\xff\x00\xff\xd9")
    )
    padded = ending[:-2] + b"\0\0" + ending[-2:]
    np.testing.assert_array_equal(decoded(padded), imagecodecs.jpeg8_decode(ending))


def unknown_version(data: bytes) -> bytes:
    at = data.index(b"JFIF\0") + 5
    return data[:at] + b"\x07" + data[at + 1 :]


def unknown_transform(data: bytes) -> bytes:
    app0 = data.index(b"\xff\xe0")
    after = app0 + 2 + int.from_bytes(data[app0 + 2 : app0 + 4], "big")
    return data[:app0] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x09" + data[after:]


def scan_of_no_coefficients(data: bytes) -> bytes:
    at = scan_of(data) - 2  # Se, which is 63 in a sequential scan (B.2.3)
    return data[:at] + b"\x00" + data[at + 1 :]


@pytest.mark.parametrize("odd", [unknown_version, unknown_transform, scan_of_no_coefficients])
def test_warning_of_libjpeg_about_a_header_is_not_damage(odd: Any) -> None:
    data = stream(coloured())
    header = read_frame_header(data)
    assert jpeg.decode(odd(data), header) is None  # simplejpeg warns and does not go on; imagecodecs does
    np.testing.assert_array_equal(decode_codestream(odd(data), header), decoded(data))
