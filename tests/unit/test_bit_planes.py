"""Bit planes that no grey shows are left out of a JPEG 2000 stream, and add no more noise than was foreseen."""

from __future__ import annotations

import io
import math
import struct
from itertools import pairwise

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEG2000, JPEG2000Lossless

from cxrlib.privacy import Pseudonymiser
from cxrlib.reading import coarse_steps, fewer_passes, reduced
from cxrlib.reading import pixels as reading_pixels
from cxrlib.reading.bit_planes import without_lowest_planes
from cxrlib.reading.codestream import FrameHeader, frame_header
from cxrlib.reading.coding_style import CodingStyle, Quantisation, Steps, coding_style
from cxrlib.reading.dicom_film import read_dicom
from cxrlib.reading.lattice import Grid
from cxrlib.reading.lower_resolution import at_lower_resolution
from cxrlib.reading.reduced import FINENESS, Reduced, decode_reduced
from cxrlib.settings import PrivacySettings, ReadSettings
from tests.corpus.film_maker import dicom, film
from tests.unit.test_dicom_film import lut

Pixels = NDArray[np.integer]

FILM = film(603, 522)
LEVEL = 1
#: What rounding samples to whole values adds to the noise of their means, at most.
ROUNDING = 0.3
#: Of an encoder of one way or the other.
WAYS = ["lossy", "lossless"]


def j2k(pixels: Pixels, way: str, bits: int = 12, decibels: int = 90, **options: object) -> bytes:
    level = decibels if way == "lossy" else 0
    reversible = way == "lossless"
    stream = imagecodecs.jpeg2k_encode(
        pixels, level=level, codecformat="J2K", reversible=reversible, bitspersample=bits, **options
    )
    return bytes(stream)


def style_of(data: bytes) -> CodingStyle:
    style = coding_style(data)
    assert style is not None
    return style


def fewer_planes(data: bytes, bits: int, level: int, noise: float) -> bytes:
    found = without_lowest_planes(data, style_of(data), bits, level, noise)
    assert found is not None
    return found


def decoded(data: bytes, shown: float = 0.0, level: int = LEVEL) -> Reduced:
    found = decode_reduced(data, frame_header(data), level, shown)
    assert found is not None
    return found


def samples(data: bytes, level: int) -> NDArray[np.float64]:
    lower = at_lower_resolution(data, style_of(data), level)
    assert lower is not None
    return imagecodecs.jpeg2k_decode(lower).astype(np.float64)


def means(values: Pixels | NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of 2 x 2 samples."""
    even = values[: len(values) // 2 * 2, : values.shape[1] // 2 * 2]
    return even.reshape(len(even) // 2, 2, -1, 2).mean(axis=(1, 3), dtype=np.float64)


def error(data: bytes, shown: float) -> NDArray[np.float64]:
    """What means of the film differ by from those with all its bit planes."""
    return means(decoded(data, shown).pixels) - means(decoded(data).pixels)


def span(data: bytes) -> float:
    low, high = np.percentile(decoded(data).pixels, (5, 95))
    return float(high - low)


def grainy(bits: int) -> Pixels:
    """A film with grain of 8 steps of 8 bits: about as wide as the steps that are left in these tests."""
    grain = 2.0 ** (bits - 5) * np.random.default_rng(bits).standard_normal((1203, 1042))
    pixels = np.clip(film(1203, 1042, bits) + grain, 0, 2**bits - 1)
    return pixels.astype(np.uint8 if bits == 8 else np.uint16)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("way", WAYS)
def test_noise_is_no_more_than_was_foreseen_and_not_much_less(way: str, bits: int, level: int) -> None:
    data = j2k(grainy(bits), way, bits)
    foreseen = 2.0 ** (bits - 8)
    fewer = fewer_planes(data, bits, level, foreseen)
    found = means(samples(fewer, level)) - means(samples(data, level))
    assert 0.2 * foreseen < found.std() < 1.1 * foreseen  # steps of lossy streams only double
    assert abs(found.mean()) < 0.2 * foreseen


@pytest.mark.parametrize("way", WAYS)
def test_no_noise_leaves_every_sample(way: str) -> None:
    data = j2k(FILM, way)
    assert np.array_equal(samples(fewer_planes(data, 12, LEVEL, 0.0), LEVEL), samples(data, LEVEL))


@pytest.mark.parametrize("way", WAYS)
def test_stream_decodes_with_hardly_a_plane_left(way: str) -> None:
    data = j2k(FILM, way)
    for noise in (1e3, 1e5, 1e9):
        pixels = samples(fewer_planes(data, 12, 0, noise), 0)
        assert pixels.shape == FILM.shape


@pytest.mark.parametrize("way", WAYS)
def test_film_keeps_within_its_range(way: str) -> None:
    data = j2k(FILM, way)
    assert 0 < error(data, math.inf).std() <= FINENESS * span(data)


@pytest.mark.parametrize("way", WAYS)
def test_film_that_fills_little_of_its_bits_keeps_more_planes(way: str) -> None:
    data = j2k(2000 + FILM // 16, way)
    assert span(data) < 256
    found = error(data, math.inf).std()
    assert found <= FINENESS * span(data) + ROUNDING
    assert error(j2k(FILM, way), math.inf).std() > 2 * found


@pytest.mark.parametrize("way", WAYS)
def test_narrow_window_keeps_more_planes(way: str) -> None:
    data = j2k(FILM, way)
    narrow, wide = (error(data, shown).std() for shown in (600.0, math.inf))
    assert narrow <= FINENESS * 600 + ROUNDING
    assert wide > narrow


@pytest.mark.parametrize("way", WAYS)
def test_film_that_fills_little_of_its_window_keeps_more_planes(way: str) -> None:
    data = j2k(2000 + FILM // 8, way)
    found = error(data, 4096.0).std()
    assert span(data) < 512
    assert found <= FINENESS * span(data) + ROUNDING
    assert error(j2k(FILM, way), 4096.0).std() > 2 * found


@pytest.mark.parametrize("way", WAYS)
def test_window_wider_than_the_bits_is_as_wide_as_they_are(way: str) -> None:
    data = j2k(FILM, way)
    assert np.array_equal(decoded(data, 1e300).pixels, decoded(data, 4096.0).pixels)


@pytest.mark.parametrize("way", WAYS)
def test_range_that_nobody_states_keeps_every_plane(way: str) -> None:
    data = j2k(FILM, way)
    assert np.array_equal(decoded(data, 0.0).pixels, samples(data, LEVEL))


@pytest.mark.parametrize("way", WAYS)
def test_film_of_one_value_keeps_every_plane(way: str) -> None:
    data = j2k(np.full((603, 522), 1234, np.uint16), way)
    assert np.array_equal(decoded(data, math.inf).pixels, decoded(data).pixels)


@pytest.mark.parametrize("way", WAYS)
def test_film_of_few_resolutions_keeps_every_plane(way: str) -> None:
    data = j2k(FILM, way, resolutions=3)  # the film and two halvings
    assert np.array_equal(decoded(data, math.inf).pixels, decoded(data).pixels)


@pytest.mark.parametrize("way", WAYS)
def test_signed_film_loses_planes_about_its_own_middle(way: str) -> None:
    data = j2k(FILM.astype(np.int16) - 2048, way)
    found = error(data, math.inf)
    assert decoded(data, math.inf).pixels.dtype == np.int16
    assert 0 < found.std() <= FINENESS * span(data)
    assert abs(found.mean()) < 0.2 * FINENESS * span(data)


def test_packets_in_another_order_lose_the_same_planes(monkeypatch: pytest.MonkeyPatch) -> None:
    data = j2k(FILM, "lossy")
    by_lower = decoded(data, math.inf)
    monkeypatch.setattr(reduced, "at_lower_resolution", lambda *_: None)
    by_pillow = decoded(data, math.inf)
    assert np.abs(by_lower.pixels.astype(int) - by_pillow.pixels).max() <= 1  # Pillow scales to 16 bits and back


def test_jp2_file_loses_planes_through_its_boxes() -> None:
    boxed = bytes(imagecodecs.jpeg2k_encode(FILM, codecformat="JP2", reversible=True, bitspersample=12))
    assert np.array_equal(decoded(boxed, math.inf).pixels, decoded(j2k(FILM, "lossless"), math.inf).pixels)
    assert not np.array_equal(decoded(boxed, math.inf).pixels, decoded(boxed).pixels)


# Steps of a lossy stream.


def quantised(data: bytes) -> Quantisation:
    found = style_of(data).quantisation
    assert found is not None
    return found


def test_no_exponent_falls_below_one() -> None:
    data = j2k(FILM, "lossy")
    steps = quantised(data)
    lowered = quantised(coarse_steps.without_lowest_planes(data, steps, (40,) * 16))
    assert (set(lowered.exponents), lowered.mantissas) == ({1}, steps.mantissas)


def test_subbands_that_are_not_decoded_keep_their_steps() -> None:
    data = j2k(FILM, "lossy")
    steps = quantised(data)
    lowered = quantised(coarse_steps.without_lowest_planes(data, steps, (1, 2, 3, 4)))
    assert [was - now for was, now in zip(steps.exponents, lowered.exponents, strict=True)] == [1, 2, 3, 4, *[0] * 12]


def with_qcd(data: bytes, segment: bytes) -> bytes:
    """Return the stream with another QCD segment."""
    at = data.index(b"\xff\x5c")
    (length,) = struct.unpack_from(">H", data, at + 2)
    return data[:at] + segment + data[at + 2 + length :]


DERIVED = b"\xff\x5c\x00\x05\x41" + struct.pack(">H", 16 << 11 | 300)


def test_derived_steps_are_those_of_the_standard() -> None:
    derived = quantised(with_qcd(j2k(FILM, "lossy"), DERIVED))
    assert (derived.steps, derived.guard, derived.exponents, derived.mantissas) == (Steps.DERIVED, 2, (16,), (300,))
    # With each resolution above the lowest two the exponent is one less (E-5).
    exponents = (16, 16, 16, 16, 15, 15, 15, 14, 14, 14, 13, 13, 13, 12, 12, 12)
    spelt_out = Quantisation(0, Steps.EXPOUNDED, 2, exponents, (300,) * 16)
    for levels in range(6):
        assert coarse_steps.steps_of(derived, 12, levels) == coarse_steps.steps_of(spelt_out, 12, levels)


def test_derived_steps_lose_planes_too() -> None:
    data = with_qcd(j2k(FILM, "lossy"), DERIVED)
    lowered = quantised(coarse_steps.without_lowest_planes(data, quantised(data), (3, *[4] * 15)))
    assert (lowered.exponents, lowered.mantissas) == ((13,), (300,))


@pytest.mark.parametrize(
    "segment",
    [b"\xff\x5c\x00\x04\x40\x90", b"\xff\x5c\x00\x05\x42\x90\x00", b"\xff\x5c\x00\x05\x43\x90\x00"],
    ids=["none", "too few", "unknown"],
)
def test_steps_that_are_not_stated_leave_every_plane(segment: bytes) -> None:
    data = with_qcd(j2k(FILM, "lossy"), segment)
    assert style_of(data).quantisation is None
    assert without_lowest_planes(data, style_of(data), 12, LEVEL, 8.0) is None


def test_second_quantisation_leaves_every_plane() -> None:
    data = j2k(FILM, "lossy")
    at = data.index(b"\xff\x5c")
    (length,) = struct.unpack_from(">H", data, at + 2)
    twice = data[:at] + data[at : at + 2 + length] + data[at:]
    assert without_lowest_planes(twice, style_of(twice), 12, LEVEL, 8.0) is None


# Passes of a lossless stream.


SIZES = [(603, 522), (64, 64), (65, 129), (1, 700), (300, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_lossless_stream_with_all_its_planes_is_the_same_bytes(size: tuple[int, int]) -> None:
    data = j2k(film(*size), "lossless")
    style = style_of(data)
    assert fewer_passes.without_lowest_planes(data, style, (0,) * (3 * style.levels + 1)) == data


@pytest.mark.parametrize("progression", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
def test_resolutions_above_are_left_out(progression: str) -> None:
    data = by_pillow(progression=progression)
    style = style_of(data)
    cut = fewer_passes.without_lowest_planes(data, style, (0,) * (3 * (style.levels - 2) + 1))
    assert cut is not None and len(cut) < len(data) / 4
    assert np.array_equal(samples(cut, 2), samples(data, 2))


def by_pillow(**options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(FILM).save(out, "JPEG2000", no_jp2=True, **options)
    return out.getvalue()


ARRANGED = {
    "layers of resolutions": {"progression": "RLCP", "quality_layers": [60, 20, 0]},
    "layers of precincts": {"progression": "RPCL", "quality_layers": [90, 60, 40, 20, 0], "precinct_size": (64, 128)},
    "precincts of layers": {"progression": "RLCP", "quality_layers": [60, 20, 0], "precinct_size": (128, 64)},
    "precincts": {"progression": "LRCP", "precinct_size": (128, 128)},
    "precincts of one code-block": {"progression": "RPCL", "precinct_size": (64, 64), "codeblock_size": (32, 32)},
    "long code-blocks": {"progression": "LRCP", "codeblock_size": (16, 128)},
}


@pytest.mark.parametrize("options", ARRANGED.values(), ids=ARRANGED.keys())
def test_packets_of_layers_and_precincts_lose_planes_too(options: dict[str, object]) -> None:
    data = by_pillow(**options)
    style = style_of(data)
    every = fewer_passes.without_lowest_planes(data, style, (0,) * (3 * style.levels + 1))
    assert every == data  # layers and precincts too
    for level, noise in ((1, 30.0), (2, 10.0)):
        found = means(samples(fewer_planes(data, 16, level, noise), level)) - means(samples(data, level))
        assert 0.2 * noise < found.std() < 1.1 * noise
        assert abs(found.mean()) < 0.2 * noise


def test_layers_change_nothing() -> None:
    layered, plain = by_pillow(**ARRANGED["layers of resolutions"]), by_pillow()
    for noise in (0.0, 5.0, 30.0, 200.0):
        fewer = (samples(fewer_planes(data, 16, LEVEL, noise), LEVEL) for data in (layered, plain))
        assert np.array_equal(*fewer)


def in_tile_parts(data: bytes) -> bytes:
    """Return the stream with each packet of its one tile in a tile-part of its own, as some encoders write them."""
    style = style_of(data)
    (part,) = style.tile_parts
    ends = [
        len(found) - len(data[: part.packets]) - 2
        for found in (
            fewer_passes.without_lowest_planes(data, style, (0,) * (3 * resolutions + 1))
            for resolutions in range(style.levels + 1)
        )
        if found is not None
    ]
    out = data[: part.start]
    for number, (begin, end) in enumerate(pairwise([0, *ends])):
        packet = data[part.packets + begin : part.packets + end]
        sot = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14 + len(packet), number, len(ends))
        out += sot + b"\xff\x93" + packet
    return out + b"\xff\xd9"


def test_packets_in_many_tile_parts_lose_the_same_planes() -> None:
    data = j2k(FILM, "lossless")
    apart = in_tile_parts(data)
    assert len(style_of(apart).tile_parts) == 6
    assert np.array_equal(samples(apart, 0), FILM)
    assert np.array_equal(decoded(apart, math.inf).pixels, decoded(data, math.inf).pixels)


LEFT_ALONE = {
    "layers before resolutions": {"progression": "LRCP", "quality_layers": [60, 20, 0]},
    "positions before resolutions": {"progression": "PCRL", "precinct_size": (64, 64)},
    "tiles": {"tile_size": (128, 128)},
    "irreversible": {"irreversible": True},
}


@pytest.mark.parametrize("options", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
def test_stream_that_is_not_the_plain_case_is_left_alone(options: dict[str, object]) -> None:
    data = by_pillow(**options)
    assert fewer_passes.without_lowest_planes(data, style_of(data), (2,) * 16) is None


@pytest.mark.parametrize(("offset", "value"), [(4, 2), (4, 4), (12, 1)], ids=["SOP", "EPH", "bypass"])
def test_packets_coded_in_another_way_are_left_alone(offset: int, value: int) -> None:
    data = bytearray(j2k(FILM, "lossless"))
    data[style_of(bytes(data)).cod + offset] |= value
    assert fewer_passes.without_lowest_planes(bytes(data), style_of(bytes(data)), (2,) * 16) is None


def test_damaged_packets_cost_the_film_at_most() -> None:
    data = j2k(film(300, 260), "lossless")
    style = style_of(data)
    (part,) = style.tile_parts
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for at in part.packets + random.integers(200, size=8):
            damaged[at] = random.integers(256)
        found = fewer_passes.without_lowest_planes(bytes(damaged), style, (2,) * (3 * style.levels + 1))
        assert found is None or len(found) <= len(data) + 200
        decode_reduced(bytes(damaged), frame_header(data), LEVEL, math.inf)  # raises nothing


@pytest.mark.parametrize("kept", [20, 200, 20_000])
def test_tile_part_that_ends_within_its_packets_is_left_alone(kept: int) -> None:
    data = bytearray(j2k(FILM, "lossless"))
    (part,) = style_of(bytes(data)).tile_parts
    struct.pack_into(">I", data, part.start + 6, part.packets - part.start + kept)
    assert fewer_passes.without_lowest_planes(bytes(data), style_of(bytes(data)), (2,) * 16) is None


def test_hostile_number_of_code_blocks_is_left_alone() -> None:
    data = bytearray(j2k(film(2048, 2048), "lossless"))
    cod = style_of(bytes(data)).cod
    data[cod + 10] = data[cod + 11] = 0  # of 4 x 4
    assert fewer_passes.without_lowest_planes(bytes(data), style_of(bytes(data)), (2,) * 16) is None


def test_lengths_of_packets_that_are_stated_elsewhere_do_not_matter() -> None:
    # TLM and PLT tell the lengths that were: OpenJPEG does not hold the stream to them.
    data = j2k(FILM, "lossless")
    (part,) = style_of(data).tile_parts
    (length,) = struct.unpack_from(">I", data, part.start + 6)
    plt = b"\xff\x58\x00\x06\x00\x81\x82\x03"
    tlm = b"\xff\x55\x00\x0a\x00\x50\x00\x00" + struct.pack(">I", length + len(plt))
    body = (
        data[part.start : part.start + 6]
        + struct.pack(">I", length + len(plt))
        + data[part.start + 10 : part.packets - 2]
    )
    told = data[: part.start] + tlm + body + plt + data[part.packets - 2 :]
    fewer = fewer_passes.without_lowest_planes(data, style_of(data), (1,) * 16)
    told_fewer = fewer_passes.without_lowest_planes(told, style_of(told), (1,) * 16)
    assert fewer is not None and told_fewer is not None
    assert np.array_equal(samples(told_fewer, LEVEL), samples(fewer, LEVEL))


SHOWN: dict[str, tuple[dict[str, object], float]] = {
    "a window": ({"WindowCenter": 2000, "WindowWidth": 1500}, 1500),
    "a window after rescaling": ({"WindowCenter": 2000, "WindowWidth": 1500, "RescaleSlope": -3}, 500),
    "nothing": ({}, math.inf),
    "a VOI table": ({"WindowWidth": 1500, "VOILUTSequence": lut(0, list(range(4096)), 12)}, 0),
    "a modality table": ({"ModalityLUTSequence": lut(0, list(range(4096)), 12)}, 0),
}


@pytest.mark.parametrize(("elements", "shown"), SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("syntax", [JPEG2000, JPEG2000Lossless])
def test_header_says_what_is_shown(
    syntax: str, elements: dict[str, object], shown: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    met = []

    def noted(data: bytes, header: FrameHeader, level: int, shown: float) -> Reduced | None:
        met.append(shown)
        return decode_reduced(data, header, level, shown)

    monkeypatch.setattr(reading_pixels, "decode_reduced", noted)
    data = dicom(FILM, syntax, elements=elements)
    read_dicom(data, ReadSettings(), Pseudonymiser.of(PrivacySettings()), Grid(128, 128))
    assert met == [shown]
