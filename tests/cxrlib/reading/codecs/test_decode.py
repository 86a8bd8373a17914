"""A second codec is tried where the first fails, and the result is compared with the declared size."""

from __future__ import annotations

from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2KLossless, JPEGBaseline8Bit, JPEGLossless

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs import decode
from cxrlib.reading.codecs.frame_header import FrameHeader, Stream, read_frame_header
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
def test_second_codec_gives_the_same_pixels_if_the_first_fails(
    syntax: str,
    bits: int,
    first: str,
    failure: Callable[..., np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encode(film(bits=bits), syntax, bits)
    expected = decode.decode_codestream(data, read_frame_header(data))
    monkeypatch.setattr(first, failure)
    assert np.abs(decode.decode_codestream(data, read_frame_header(data)).astype(int) - expected).max() <= 1


def test_error_of_all_codecs_quotes_none_of_their_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("jpeg8_decode", "jpegsof3_decode"):
        monkeypatch.setattr(imagecodecs, name, broken)
    data = encode(film(), JPEGLossless, 12)
    with pytest.raises(FilmError) as caught:
        decode.decode_codestream(data, read_frame_header(data))
    assert caught.value.reason is Reason.DECODER_FAILED
    assert "MUSTERMANN" not in str(caught.value)


def test_decoded_shape_other_than_declared_fails() -> None:
    data = encode(film(bits=8), JPEGBaseline8Bit, 8)
    with pytest.raises(FilmError) as caught:
        decode.decode_codestream(data, FrameHeader(Stream.JPEG, 10, 10, 1, 8, process=0xC0))
    assert caught.value.reason is Reason.DECODER_FAILED
