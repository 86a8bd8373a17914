"""The codec table stands in for one that fails, and what a codec gives is compared with what was declared."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, JPEGLossless, RLELossless

from cxrlib.errors import FilmError
from cxrlib.reading import codecs
from cxrlib.reading.codestream import FrameHeader, Stream, frame_header
from schemas import Reason
from tests.corpus.film_maker import encode, film


def broken(*_args: object, **_options: object) -> np.ndarray:
    raise RuntimeError("this codec fails, quoting MUSTERMANN")


@pytest.mark.parametrize(
    ("syntax", "first"),
    [(JPEGBaseline8Bit, "jpeg8_decode"), (JPEGLossless, "jpeg8_decode"), (HTJ2KLossless, "htj2k_decode")],
)
def test_second_codec_gives_the_same_where_the_first_fails(
    syntax: str, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(film(bits=8), syntax, 8)
    expected = codecs.decode_codestream(data, frame_header(data))
    monkeypatch.setattr(imagecodecs, first, broken)
    assert np.abs(codecs.decode_codestream(data, frame_header(data)).astype(int) - expected).max() <= 1


def test_failure_of_all_codecs_quotes_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jpeg8_decode", "jpegsof3_decode"):
        monkeypatch.setattr(imagecodecs, name, broken)
    data = encode(film(), JPEGLossless, 12)
    with pytest.raises(FilmError) as caught:
        codecs.decode_codestream(data, frame_header(data))
    assert caught.value.reason is Reason.DECODER_FAILED
    assert "MUSTERMANN" not in str(caught.value)


def test_pixels_of_another_shape_than_declared_fail() -> None:
    data = encode(film(bits=8), JPEGBaseline8Bit, 8)
    with pytest.raises(FilmError) as caught:
        codecs.decode_codestream(data, FrameHeader(Stream.JPEG, 10, 10, 1, 8, process=0xC0))
    assert caught.value.reason is Reason.DECODER_FAILED


def test_run_lengths_of_fewer_pixels_than_asked_for_are_truncated() -> None:
    data = encode(film(100, 90), RLELossless, 12)
    with pytest.raises(FilmError) as caught:
        codecs.decode_rle(data, 120, 90, 1, 2)
    assert caught.value.reason is Reason.TRUNCATED


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
        codecs.decode_rle(header + encode(film(), RLELossless, 12)[64:], 160, 144, 1, 2)
    assert caught.value.reason is reason
