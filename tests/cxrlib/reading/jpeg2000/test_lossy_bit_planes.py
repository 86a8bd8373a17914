"""A lossy JPEG 2000 stream loses its lowest bit planes when it states wider steps."""

from __future__ import annotations

import struct

import pytest

from cxrlib.reading.jpeg2000 import lossy_bit_planes
from cxrlib.reading.jpeg2000.bit_planes import without_lowest_planes
from cxrlib.reading.jpeg2000.markers import Quantisation, Steps
from tests.support.jpeg2000_films import FILM, LEVEL, j2k, style_of


def quantised(data: bytes) -> Quantisation:
    found = style_of(data).quantisation
    assert found is not None
    return found


def with_qcd(data: bytes, segment: bytes) -> bytes:
    """Return the stream with another QCD segment."""
    at = data.index(b"\xff\x5c")
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + segment + data[at + 2 + length :]


def test_exponents_are_at_least_one() -> None:
    data = j2k(FILM, "lossy")
    steps = quantised(data)
    lowered = quantised(lossy_bit_planes.without_lowest_planes(data, steps, (40,) * 16))
    assert (set(lowered.exponents), lowered.mantissas) == ({1}, steps.mantissas)


def test_subbands_that_are_not_decoded_keep_their_steps() -> None:
    data = j2k(FILM, "lossy")
    steps = quantised(data)
    lowered = quantised(lossy_bit_planes.without_lowest_planes(data, steps, (1, 2, 3, 4)))
    assert [was - now for was, now in zip(steps.exponents, lowered.exponents, strict=True)] == [1, 2, 3, 4, *[0] * 12]


DERIVED = b"\xff\x5c\x00\x05\x41" + struct.pack(">H", 16 << 11 | 300)


def test_derived_steps_follow_the_standard() -> None:
    derived = quantised(with_qcd(j2k(FILM, "lossy"), DERIVED))
    assert (derived.steps, derived.guard, derived.exponents, derived.mantissas) == (Steps.DERIVED, 2, (16,), (300,))
    # The exponent is one less with each resolution above the lowest two (E-5).
    exponents = (16, 16, 16, 16, 15, 15, 15, 14, 14, 14, 13, 13, 13, 12, 12, 12)
    spelt_out = Quantisation(0, Steps.EXPOUNDED, 2, exponents, (300,) * 16)
    for levels in range(6):
        assert lossy_bit_planes.steps_of(derived, 12, levels) == lossy_bit_planes.steps_of(spelt_out, 12, levels)


def test_derived_steps_lose_planes_too() -> None:
    data = with_qcd(j2k(FILM, "lossy"), DERIVED)
    lowered = quantised(lossy_bit_planes.without_lowest_planes(data, quantised(data), (3, *[4] * 15)))
    assert (lowered.exponents, lowered.mantissas) == ((13,), (300,))


@pytest.mark.parametrize(
    "segment",
    [b"\xff\x5c\x00\x04\x40\x90", b"\xff\x5c\x00\x05\x42\x90\x00", b"\xff\x5c\x00\x05\x43\x90\x00"],
    ids=["none", "too few", "unknown"],
)
def test_stream_without_steps_keeps_every_plane(segment: bytes) -> None:
    data = with_qcd(j2k(FILM, "lossy"), segment)
    assert style_of(data).quantisation is None
    assert without_lowest_planes(data, style_of(data), 12, LEVEL, 8.0) is None


def test_stream_with_two_quantisations_keeps_every_plane() -> None:
    data = j2k(FILM, "lossy")
    at = data.index(b"\xff\x5c")
    (length,) = struct.unpack_from(">H", data, at + 2)
    twice = data[:at] + data[at : at + 2 + length] + data[at:]
    assert without_lowest_planes(twice, style_of(twice), 12, LEVEL, 8.0) is None
