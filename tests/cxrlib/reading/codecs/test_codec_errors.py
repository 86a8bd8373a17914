"""An error that a codec hides is raised; otherwise the rest of its film would be black."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import HTJ2K, HTJ2KLossless

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs import decode
from cxrlib.reading.codecs.codec_errors import hidden_errors_raised
from cxrlib.reading.codecs.frame_header import read_frame_header
from cxrlib.reading.reduced_resolution import decode_reduced
from tests.support.film_files import encode, film


class Other:
    """An object whose finaliser raises; Python ignores the error, and it is no error of a codec."""

    def __del__(self) -> None:
        raise KeyError("MUSTERMANN")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the types of the errors that reach the hook installed before."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    return seen


def report_hidden_error() -> None:
    """Report an exception to Python as compiled code of a codec does that cannot raise."""
    ignored = SimpleNamespace(exc_type=ValueError, exc_value=ValueError("MUSTERMANN"), object="imagecodecs._any.part")
    sys.unraisablehook(ignored)


def test_hidden_error_of_a_codec_is_raised_without_its_message(seen: list[Any]) -> None:
    with pytest.raises(RuntimeError, match="got a ValueError") as caught, hidden_errors_raised():
        report_hidden_error()
    assert "MUSTERMANN" not in str(caught.value)
    assert not seen


def test_hidden_error_of_other_code_is_not_raised(seen: list[Any]) -> None:
    with hidden_errors_raised():
        Other()
    assert seen == [KeyError]


def test_error_raised_in_the_block_takes_precedence(seen: list[Any]) -> None:
    with pytest.raises(KeyError), hidden_errors_raised():
        report_hidden_error()
        raise KeyError


def test_hook_is_restored_and_other_threads_keep_it(seen: list[Any]) -> None:
    before = sys.unraisablehook
    with hidden_errors_raised():
        other = threading.Thread(target=report_hidden_error)
        other.start()
        other.join()
    assert seen == [ValueError]
    assert sys.unraisablehook is before
    report_hidden_error()
    assert seen == [ValueError, ValueError]


def test_blocks_of_several_threads_may_overlap(seen: list[Any]) -> None:
    before = sys.unraisablehook
    entered, leave = threading.Event(), threading.Event()

    def wait_in_block() -> None:
        with hidden_errors_raised():
            entered.set()
            leave.wait(10)

    other = threading.Thread(target=wait_in_block)
    other.start()
    entered.wait(10)
    with pytest.raises(RuntimeError), hidden_errors_raised():
        leave.set()
        other.join()
        report_hidden_error()
    assert sys.unraisablehook is before


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2K])
def test_film_whose_decoding_stops_silently_is_rejected(syntax: str, level: int, seen: list[Any]) -> None:
    stopped = [data for data in _with_one_wrong_byte(syntax) if _stops_silently(data, level, seen)]
    assert stopped, "expected bytes at which the codec stops and raises nothing; got none"
    for data in stopped:
        header = read_frame_header(data)
        if level:
            assert decode_reduced(data, header, level) is None
        else:
            with pytest.raises(FilmError) as caught:
                decode.decode_codestream(data, header)
            assert caught.value.reason is Reason.DECODER_FAILED
    assert not seen


def _with_one_wrong_byte(syntax: str) -> Iterator[bytes]:
    whole = encode(film(300, 260), syntax, 12)
    rng = np.random.default_rng(0)
    for _ in range(400):
        data = bytearray(whole)
        data[int(rng.integers(len(data) // 10, len(data) * 9 // 10))] ^= int(rng.integers(1, 256))
        yield bytes(data)


def _stops_silently(data: bytes, level: int, seen: list[Any]) -> bool:
    try:
        imagecodecs.htj2k_decode(data, skipres=level)
    except RuntimeError:
        return False
    stops = bool(seen)
    seen.clear()
    return stops
