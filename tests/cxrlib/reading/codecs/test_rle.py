"""DICOM RLE: padding is ignored, damaged and truncated segments are detected."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import RLELossless

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.rle import decode_rle
from tests.support.film_files import encode, film


def test_too_few_pixels_are_truncated() -> None:
    data = encode(film(100, 90), RLELossless, 12)
    with pytest.raises(FilmError) as caught:
        decode_rle(data, 120, 90, 1, 2)
    assert caught.value.reason is Reason.TRUNCATED


def _literal(values: bytes) -> bytes:
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
def test_padding_of_a_segment_is_ignored(high: int, low: int) -> None:
    data = _segments(_literal(_HIGH + bytes(high)), _literal(_LOW + bytes(low)))
    assert decode_rle(data, 2, 3, 1, 2).tolist() == _FILM
    encoded = _segments(_literal(_HIGH) + bytes(2 * high), _literal(_LOW) + bytes(2 * low))
    assert decode_rle(encoded, 2, 3, 1, 2).tolist() == _FILM


@pytest.mark.parametrize("beyond", [bytes([9]), bytes(5), bytes([0, 0, 9])])
def test_segment_longer_than_the_film_is_damaged(beyond: bytes) -> None:
    for high, low in ((beyond, b""), (b"", beyond), (beyond, beyond)):
        with pytest.raises(FilmError) as caught:
            decode_rle(_segments(_literal(_HIGH + high), _literal(_LOW + low)), 2, 3, 1, 2)
        assert caught.value.reason is Reason.DECODER_FAILED


def test_padding_of_a_plane_is_not_part_of_the_next() -> None:
    data = _segments(_literal(_HIGH), _literal(_LOW + bytes(3)), _literal(_HIGH))
    planes = decode_rle(data, 2, 3, 3, 1)
    assert planes.reshape(3, 6).tolist() == [[*_HIGH], [*_LOW], [*_HIGH]]


@pytest.mark.parametrize("lengths", [(5, 7), (5, 6), (6, 5), (5, 5), (6, 3, 9), (3, 9, 6)])
def test_segment_that_ends_early_is_truncated(lengths: tuple[int, ...]) -> None:
    assert _reason_of(lengths) is Reason.TRUNCATED


@pytest.mark.parametrize("lengths", [(7, 5), (11, 1), (7, 7), (9, 3, 6), (7, 5, 6)])
def test_segment_that_is_too_long_is_damaged_even_if_another_is_short(lengths: tuple[int, ...]) -> None:
    assert _reason_of(lengths) is Reason.DECODER_FAILED


def _reason_of(lengths: tuple[int, ...]) -> Reason:
    """Return why segments of these lengths are rejected, as two bytes of a sample or as three samples."""
    # The codec alone decodes some of these silently to wrong pixels: bytes of one segment in place of another's.
    data = _segments(*(_literal(bytes(range(length))) for length in lengths))
    samples, bytes_each = (1, 2) if len(lengths) == 2 else (3, 1)
    with pytest.raises(FilmError) as caught:
        decode_rle(data, 2, 3, samples, bytes_each)
    return caught.value.reason


def test_samples_of_several_bytes_come_plane_by_plane() -> None:
    planes = np.arange(18, dtype=np.uint16).reshape(3, 2, 3) * 1000
    halves = [part.astype(np.uint8).tobytes() for plane in planes for part in divmod(plane, 256)]
    data = _segments(*(_literal(half) for half in halves))
    np.testing.assert_array_equal(decode_rle(data, 2, 3, 3, 2), planes)


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
def test_segment_offsets_are_checked_before_decoding(offsets: list[int], reason: Reason) -> None:
    # imagecodecs reads wherever an offset points to: unchecked, the first of these ends the process.
    header = np.array(offsets + [0] * (16 - len(offsets)), "<u4").tobytes()
    with pytest.raises(FilmError) as caught:
        decode_rle(header + encode(film(), RLELossless, 12)[64:], 160, 144, 1, 2)
    assert caught.value.reason is reason
