"""The codec table stands in for one that fails, and what a codec gives is compared with what was declared."""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, JPEGLossless, RLELossless

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs import decode
from cxrlib.reading.codecs.frame_header import FrameHeader, Stream, frame_header
from tests.support.film_files import encode, film


def broken(*_args: object, **_options: object) -> np.ndarray:
    raise RuntimeError("this codec fails, quoting MUSTERMANN")


def unfit(*_args: object, **_options: object) -> np.ndarray:
    raise ValueError("this codec cannot do it")


@pytest.mark.parametrize(
    ("syntax", "bits", "first", "failure"),
    [
        (JPEGBaseline8Bit, 8, "simplejpeg.decode_jpeg", unfit),
        (JPEGLossless, 8, "simplejpeg.decode_jpeg", unfit),
        (JPEGLossless, 12, "imagecodecs.jpeg8_decode", broken),
        (HTJ2KLossless, 8, "imagecodecs.htj2k_decode", broken),
    ],
)
def test_second_codec_gives_the_same_where_the_first_fails(
    syntax: str,
    bits: int,
    first: str,
    failure: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(film(bits=bits), syntax, bits)
    expected = decode.decode_codestream(data, frame_header(data))
    monkeypatch.setattr(first, failure)
    assert np.abs(decode.decode_codestream(data, frame_header(data)).astype(int) - expected).max() <= 1


def test_failure_of_all_codecs_quotes_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jpeg8_decode", "jpegsof3_decode"):
        monkeypatch.setattr(imagecodecs, name, broken)
    data = encode(film(), JPEGLossless, 12)
    with pytest.raises(FilmError) as caught:
        decode.decode_codestream(data, frame_header(data))
    assert caught.value.reason is Reason.DECODER_FAILED
    assert "MUSTERMANN" not in str(caught.value)


def test_pixels_of_another_shape_than_declared_fail() -> None:
    data = encode(film(bits=8), JPEGBaseline8Bit, 8)
    with pytest.raises(FilmError) as caught:
        decode.decode_codestream(data, FrameHeader(Stream.JPEG, 10, 10, 1, 8, process=0xC0))
    assert caught.value.reason is Reason.DECODER_FAILED


def test_run_lengths_of_fewer_pixels_than_asked_for_are_truncated() -> None:
    data = encode(film(100, 90), RLELossless, 12)
    with pytest.raises(FilmError) as caught:
        decode.decode_rle(data, 120, 90, 1, 2)
    assert caught.value.reason is Reason.TRUNCATED


def _as_they_are(values: bytes) -> bytes:
    """Return at most 128 bytes as one run of literals (PS3.5 G.3.1)."""
    return bytes([len(values) - 1]) + values


def _segments(*segments: bytes) -> bytes:
    """Return a frame of run lengths of these segments (PS3.5 G.5)."""
    starts = 64 + np.cumsum([0, *(len(segment) for segment in segments[:-1])])
    header = [len(segments), *starts.tolist(), *[0] * (15 - len(segments))]
    return np.array(header, "<u4").tobytes() + b"".join(segments)


_HIGH, _LOW = bytes([1, 2, 3, 4, 5, 6]), bytes([11, 12, 13, 14, 15, 16])
_FILM = [[0x10B, 0x20C, 0x30D], [0x40E, 0x50F, 0x610]]


@pytest.mark.parametrize("high", [0, 1, 4])
@pytest.mark.parametrize("low", [0, 1, 4])
def test_padding_of_a_segment_is_left_out(high: int, low: int) -> None:
    data = _segments(_as_they_are(_HIGH + bytes(high)), _as_they_are(_LOW + bytes(low)))
    assert decode.decode_rle(data, 2, 3, 1, 2).tolist() == _FILM
    encoded = _segments(_as_they_are(_HIGH) + bytes(2 * high), _as_they_are(_LOW) + bytes(2 * low))
    assert decode.decode_rle(encoded, 2, 3, 1, 2).tolist() == _FILM


@pytest.mark.parametrize("beyond", [bytes([9]), bytes(5), bytes([0, 0, 9])])
def test_a_segment_that_goes_on_beyond_the_film_is_damaged(beyond: bytes) -> None:
    for high, low in ((beyond, b""), (b"", beyond), (beyond, beyond)):
        with pytest.raises(FilmError) as caught:
            decode.decode_rle(_segments(_as_they_are(_HIGH + high), _as_they_are(_LOW + low)), 2, 3, 1, 2)
        assert caught.value.reason is Reason.DECODER_FAILED


def test_padding_of_a_plane_is_no_part_of_the_next() -> None:
    data = _segments(_as_they_are(_HIGH), _as_they_are(_LOW + bytes(3)), _as_they_are(_HIGH))
    planes = decode.decode_rle(data, 2, 3, 3, 1)
    assert planes.reshape(3, 6).tolist() == [[*_HIGH], [*_LOW], [*_HIGH]]


@pytest.mark.parametrize("lengths", [(5, 7), (5, 6), (6, 5), (5, 5), (6, 3, 9), (3, 9, 6)])
def test_a_segment_that_ends_early_is_truncated(lengths: tuple[int, ...]) -> None:
    assert _refused(lengths) is Reason.TRUNCATED


@pytest.mark.parametrize("lengths", [(7, 5), (11, 1), (7, 7), (9, 3, 6), (7, 5, 6)])
def test_a_segment_that_is_too_long_is_damaged_whatever_another_lacks(lengths: tuple[int, ...]) -> None:
    assert _refused(lengths) is Reason.DECODER_FAILED


def _refused(lengths: tuple[int, ...]) -> Reason:
    """Return why segments of these lengths are refused, as two bytes of a sample or as three samples."""
    # By itself the codec decodes some of these to other pixels without a word: bytes of one segment in another's place.
    data = _segments(*(_as_they_are(bytes(range(length))) for length in lengths))
    samples, bytes_each = (1, 2) if len(lengths) == 2 else (3, 1)
    with pytest.raises(FilmError) as caught:
        decode.decode_rle(data, 2, 3, samples, bytes_each)
    return caught.value.reason


def test_samples_of_several_bytes_come_plane_by_plane() -> None:
    planes = np.arange(18, dtype=np.uint16).reshape(3, 2, 3) * 1000
    halves = [part.astype(np.uint8).tobytes() for plane in planes for part in divmod(plane, 256)]
    data = _segments(*(_as_they_are(half) for half in halves))
    np.testing.assert_array_equal(decode.decode_rle(data, 2, 3, 3, 2), planes)


@pytest.mark.parametrize(
    ("offsets", "reason"),
    [
        ([2, 64, 2**24], Reason.TRUNCATED),
        ([2, 64, 64], Reason.DECODER_FAILED),
        ([2, 0, 70], Reason.DECODER_FAILED),
        ([3, 64, 70, 90], Reason.DECODER_FAILED),
        ([1, 64, 0], Reason.DECODER_FAILED),
    ],
)
def test_segment_offsets_are_checked_before_the_codec_follows_them(offsets: list[int], reason: Reason) -> None:
    # imagecodecs reads wherever an offset points to: unchecked, the first of these ends the process.
    header = np.array(offsets + [0] * (16 - len(offsets)), "<u4").tobytes()
    with pytest.raises(FilmError) as caught:
        decode.decode_rle(header + encode(film(), RLELossless, 12)[64:], 160, 144, 1, 2)
    assert caught.value.reason is reason
