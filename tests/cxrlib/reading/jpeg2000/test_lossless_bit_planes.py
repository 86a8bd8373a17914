"""A lossless JPEG 2000 stream loses its lowest bit planes when its packets state fewer passes."""

from __future__ import annotations

import math
import struct
from itertools import pairwise

import numpy as np
import pytest

from cxrlib.reading.codecs.frame_header import read_frame_header
from cxrlib.reading.jpeg2000 import lossless_bit_planes
from cxrlib.reading.reduced_resolution import decode_reduced
from tests.support.film_files import film
from tests.support.jpeg2000_films import FILM, LEVEL, by_pillow, decoded, fewer_planes, j2k, means, samples, style_of

SIZES = [(603, 522), (64, 64), (65, 129), (1, 700), (300, 2)]


@pytest.mark.parametrize("size", SIZES)
def test_stream_that_keeps_all_planes_has_the_same_bytes(size: tuple[int, int]) -> None:
    data = j2k(film(*size), "lossless")
    style = style_of(data)
    assert lossless_bit_planes.without_lowest_planes(data, style, (0,) * (3 * style.levels + 1)) == data


@pytest.mark.parametrize("progression", ["LRCP", "RLCP", "RPCL", "PCRL", "CPRL"])
def test_higher_resolutions_are_left_out(progression: str) -> None:
    data = by_pillow(progression=progression)
    style = style_of(data)
    cut = lossless_bit_planes.without_lowest_planes(data, style, (0,) * (3 * (style.levels - 2) + 1))
    assert cut is not None and len(cut) < len(data) / 4
    assert np.array_equal(samples(cut, 2), samples(data, 2))


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
    every = lossless_bit_planes.without_lowest_planes(data, style, (0,) * (3 * style.levels + 1))
    assert every == data  # layers and precincts too
    for level, noise in ((1, 30.0), (2, 10.0)):
        found = means(samples(fewer_planes(data, 16, level, noise), level)) - means(samples(data, level))
        assert 0.2 * noise < found.std() < 1.1 * noise
        assert abs(found.mean()) < 0.2 * noise


def test_layers_do_not_change_the_result() -> None:
    layered, plain = by_pillow(**ARRANGED["layers of resolutions"]), by_pillow()
    for noise in (0.0, 5.0, 30.0, 200.0):
        fewer = (samples(fewer_planes(data, 16, LEVEL, noise), LEVEL) for data in (layered, plain))
        assert np.array_equal(*fewer)


def in_tile_parts(data: bytes) -> bytes:
    """Return the stream with each packet of its one tile in its own tile-part, as some encoders write them."""
    style = style_of(data)
    (part,) = style.tile_parts
    ends = [
        len(found) - len(data[: part.packets]) - 2
        for found in (
            lossless_bit_planes.without_lowest_planes(data, style, (0,) * (3 * resolutions + 1))
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
def test_stream_other_than_the_plain_case_is_unchanged(options: dict[str, object]) -> None:
    data = by_pillow(**options)
    assert lossless_bit_planes.without_lowest_planes(data, style_of(data), (2,) * 16) is None


@pytest.mark.parametrize(("offset", "value"), [(4, 2), (4, 4), (12, 1)], ids=["SOP", "EPH", "bypass"])
def test_packets_coded_in_another_way_are_unchanged(offset: int, value: int) -> None:
    data = bytearray(j2k(FILM, "lossless"))
    data[style_of(bytes(data)).cod + offset] |= value
    assert lossless_bit_planes.without_lowest_planes(bytes(data), style_of(bytes(data)), (2,) * 16) is None


def test_damaged_packets_raise_nothing() -> None:
    data = j2k(film(300, 260), "lossless")
    style = style_of(data)
    (part,) = style.tile_parts
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for at in part.packets + random.integers(200, size=8):
            damaged[at] = random.integers(256)
        found = lossless_bit_planes.without_lowest_planes(bytes(damaged), style, (2,) * (3 * style.levels + 1))
        assert found is None or len(found) <= len(data) + 200
        decode_reduced(bytes(damaged), read_frame_header(data), LEVEL, math.inf)  # raises nothing


@pytest.mark.parametrize("kept", [20, 200, 20_000])
def test_tile_part_that_ends_within_its_packets_is_unchanged(kept: int) -> None:
    data = bytearray(j2k(FILM, "lossless"))
    (part,) = style_of(bytes(data)).tile_parts
    struct.pack_into(">I", data, part.start + 6, part.packets - part.start + kept)
    assert lossless_bit_planes.without_lowest_planes(bytes(data), style_of(bytes(data)), (2,) * 16) is None


def test_stream_with_too_many_code_blocks_is_unchanged() -> None:
    data = bytearray(j2k(film(2048, 2048), "lossless"))
    cod = style_of(bytes(data)).cod
    data[cod + 10] = data[cod + 11] = 0  # of 4 x 4
    assert lossless_bit_planes.without_lowest_planes(bytes(data), style_of(bytes(data)), (2,) * 16) is None


def test_packet_lengths_stated_in_tlm_and_plt_do_not_matter() -> None:
    # TLM and PLT state the old lengths; OpenJPEG does not check them.
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
    fewer = lossless_bit_planes.without_lowest_planes(data, style_of(data), (1,) * 16)
    told_fewer = lossless_bit_planes.without_lowest_planes(told, style_of(told), (1,) * 16)
    assert fewer is not None and told_fewer is not None
    assert np.array_equal(samples(told_fewer, LEVEL), samples(fewer, LEVEL))
