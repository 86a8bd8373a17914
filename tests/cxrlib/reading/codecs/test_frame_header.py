"""The kind, size and completeness of a codestream are read without decoding it."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLSLossless

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.frame_header import (
    FrameHeader,
    Stream,
    check_whole,
    is_lossless_jpeg,
    read_frame_header,
    without_trailing_segments,
)
from tests.support.film_files import encode, film

STREAMS = {
    JPEGBaseline8Bit: (Stream.JPEG, 8),
    JPEGExtended12Bit: (Stream.JPEG, 12),
    JPEGLossless: (Stream.JPEG, 12),
    JPEGLSLossless: (Stream.JPEG_LS, 16),  # these two encoders state the width of the container
    JPEG2000: (Stream.JPEG_2000, 12),
    HTJ2K: (Stream.HTJ2K, 16),
}


def reason_of(data: bytes) -> Reason:
    with pytest.raises(FilmError) as caught:
        check_whole(data, read_frame_header(data))
    return caught.value.reason


@pytest.mark.parametrize("syntax", STREAMS, ids=lambda syntax: syntax.name)
def test_stream_declares_its_kind_and_size(syntax: str) -> None:
    stream, bits = STREAMS[syntax]
    pixels = film(90, 70, 8 if bits == 8 else 12)
    header = read_frame_header(encode(pixels, syntax, 8 if bits == 8 else 12))
    assert (header.stream, header.rows, header.columns, header.samples, header.bits) == (stream, 90, 70, 1, bits)
    assert is_lossless_jpeg(header) == (syntax == JPEGLossless)


def test_codestream_in_a_jp2_file_is_found() -> None:
    data = imagecodecs.jpeg2k_encode(film(), codecformat="JP2", reversible=True)
    assert (read_frame_header(data).rows, read_frame_header(data).columns) == (160, 144)
    check_whole(data, read_frame_header(data))


def test_sign_of_jpeg_2000_is_read() -> None:
    data = imagecodecs.jpeg2k_encode(film().astype(np.int16), reversible=True, codecformat="J2K")
    assert read_frame_header(data).signed


@pytest.mark.parametrize("syntax", STREAMS, ids=lambda syntax: syntax.name)
def test_padded_stream_is_complete_and_stream_without_its_end_is_truncated(syntax: str) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    data = encode(film(bits=bits), syntax, bits)
    for padding in (b"", b"\0", bytes(5000)):
        check_whole(data + padding, read_frame_header(data))
    assert reason_of(data[: len(data) * 2 // 3]) is Reason.TRUNCATED


def test_jpeg_2000_without_end_marker_is_complete_if_its_tile_parts_are() -> None:
    data = encode(film(), JPEG2000, 12)
    check_whole(data[:-2], read_frame_header(data))


def test_only_a_stream_with_segments_after_its_tile_parts_is_repaired() -> None:
    data = encode(film(), JPEG2000, 12)
    assert without_trailing_segments(data) is None
    assert without_trailing_segments(data[:-2] + b"\xff\x64\x00\x04\x00\x01" + data[-2:]) == data
    assert without_trailing_segments(data[:-40]) is None


@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02", b"\x89PNG", b"\xff\xd8\x00\x00"])
def test_other_bytes_are_not_a_codestream(data: bytes) -> None:
    with pytest.raises(FilmError) as caught:
        read_frame_header(data)
    assert caught.value.reason is Reason.DECODER_FAILED


@pytest.mark.parametrize("syntax", STREAMS, ids=lambda syntax: syntax.name)
def test_stream_that_ends_before_its_size_is_truncated(syntax: str) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    data = encode(film(bits=bits), syntax, bits)
    with pytest.raises(FilmError) as caught:
        read_frame_header(data[:9])
    assert caught.value.reason is Reason.TRUNCATED


def test_thumbnail_within_a_jpeg_is_not_taken_for_its_frame() -> None:
    thumbnail = encode(film(64, 48, bits=8), JPEGBaseline8Bit, 8)
    data = encode(film(bits=8), JPEGBaseline8Bit, 8)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    assert read_frame_header(data[:2] + segment + data[2:]) == FrameHeader(Stream.JPEG, 160, 144, 1, 8, process=0xC0)
