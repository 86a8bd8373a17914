"""Decoding at a reduced resolution gives the samples that the standard's transform defines, with every codec."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading.codecs.frame_header import read_frame_header
from cxrlib.reading.jpeg2000.markers import Progression, coding_style
from cxrlib.reading.jpeg2000.resolution import at_lower_resolution
from cxrlib.reading.lattice import Kernel, Reduced
from cxrlib.reading.reduced_resolution import decode_reduced
from tests.support.film_files import film

FILM = film(301, 262)


def low_pass(line: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the samples of the reversible 5/3 transform along the last axis (ISO/IEC 15444-1 F.4.8.1)."""
    length = line.shape[-1]
    even, odd = np.arange(0, length, 2), np.arange(1, length, 2)
    left, right = odd - 1, np.where(odd + 1 < length, odd + 1, odd - 1)
    high = line[..., odd] - (line[..., left] + line[..., right]) // 2
    before = np.maximum(even // 2 - 1, 0)
    after = np.minimum(even // 2, len(odd) - 1)
    return line[..., even] + (high[..., before] + high[..., after] + 2) // 4


def analysed(pixels: NDArray[np.integer], level: int, bits: int, *, signed: bool = False) -> NDArray[np.int64]:
    """Return the samples of a lossless stream at `level`, clipped as a decoder clips them."""
    half = 0 if signed else 1 << (bits - 1)
    samples = pixels.astype(np.int64) - half
    for _ in range(level):
        samples = low_pass(low_pass(samples.T).T)
    return np.clip(samples, -(1 << (bits - 1)), (1 << (bits - 1)) - 1) + half


def j2k(pixels: NDArray[np.integer], bits: int = 12, **options: object) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", reversible=True, bitspersample=bits, **options))


def by_pillow(pixels: NDArray[np.uint16], **options: object) -> bytes:
    """Return a stream of 16 bits, encoded with Pillow's options."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG2000", no_jp2=True, **options)
    return out.getvalue()


def decoded(data: bytes, level: int) -> Reduced:
    found = decode_reduced(data, read_frame_header(data), level)
    assert found is not None
    return found


def edges(bits: int) -> NDArray[np.uint16]:
    """Return a film with hard edges at both ends of its range, where reduced samples overshoot."""
    board = np.indices((301, 262)).sum(axis=0) // 9 % 2
    return (board * (2**bits - 1)).astype(np.uint16)


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("size", [(301, 262), (300, 259), (128, 133)])
def test_lossless_jpeg_2000_gives_the_samples_of_its_transform(size: tuple[int, int], level: int) -> None:
    pixels = film(*size)
    found = decoded(j2k(pixels), level)
    assert found.pixels.dtype == np.uint16
    assert np.array_equal(found.pixels, analysed(pixels, level, 12))
    assert (found.lattice.level, found.lattice.kernel) == (level, Kernel.WAVELET_5_3)
    assert (found.lattice.rows, found.lattice.columns) == size


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("level", [1, 2])
def test_high_throughput_stream_gives_the_samples_of_its_transform_without_wrapping(bits: int, level: int) -> None:
    pixels = edges(bits).astype(np.uint8 if bits == 8 else np.uint16)
    found = decoded(imagecodecs.htj2k_encode(pixels, reversible=True), level)
    depth = 8 if bits == 8 else 16  # this encoder states the width of the container
    assert found.pixels.dtype == pixels.dtype
    assert np.array_equal(found.pixels, analysed(pixels, level, depth))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_2000_clips_overshoot_at_its_own_depth(bits: int) -> None:
    pixels = edges(bits).astype(np.uint8 if bits == 8 else np.uint16)
    assert np.array_equal(decoded(j2k(pixels, bits), 1).pixels, analysed(pixels, 1, bits))


@pytest.mark.parametrize("encode", [j2k, lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True)])
def test_signed_stream_keeps_its_sign(encode: object) -> None:
    pixels = FILM.astype(np.int16) - 2048
    found = decoded(encode(pixels), 2)  # type: ignore[operator]
    assert found.pixels.dtype == np.int16
    assert np.array_equal(found.pixels, analysed(pixels, 2, 12, signed=True))


@pytest.mark.parametrize(
    "stream",
    [
        imagecodecs.jpeg2k_encode(FILM, level=70, codecformat="J2K", reversible=False, bitspersample=12),
        imagecodecs.htj2k_encode(FILM, level=0.0001, reversible=False),
    ],
    ids=["jpeg 2000", "high throughput"],
)
def test_irreversible_stream_averages_to_the_film(stream: bytes) -> None:
    found = decoded(stream, 1)
    assert found.lattice.kernel is Kernel.WAVELET_9_7
    centre = np.s_[4:-4, 4:-4]
    assert np.abs(found.pixels[centre].astype(int) - analysed(FILM, 1, 12)[centre]).mean() < 12  # of 4095


VARIANTS = {
    "layers, resolution first": ({"progression": "RLCP", "quality_layers": [60, 20, 0]}, True),
    "layers before resolutions": ({"progression": "LRCP", "quality_layers": [60, 20, 0]}, False),
    "one layer": ({"progression": "LRCP"}, True),
    "position first, one precinct": ({"progression": "PCRL"}, True),
    "position first, many precincts": ({"progression": "PCRL", "precinct_size": (64, 64)}, False),
    "precincts, resolution first": ({"progression": "RPCL", "precinct_size": (128, 128)}, True),
    "component first": ({"progression": "CPRL"}, True),
    "tiles": ({"progression": "LRCP", "tile_size": (128, 64)}, True),
}


@pytest.mark.parametrize(("options", "shortened"), VARIANTS.values(), ids=VARIANTS.keys())
def test_every_order_of_packets_gives_the_samples_of_openjpegs_own_reduction(
    options: dict[str, object], shortened: bool
) -> None:
    # A size that Pillow's own parameter, which rounds to the nearest, reduces correctly.
    data = by_pillow(film(303, 262), **options)
    style = coding_style(data)
    assert style is not None
    lower = at_lower_resolution(data, style, 2)
    assert (lower is not None) == shortened
    found = decoded(data, 2)
    with Image.open(io.BytesIO(data)) as image:
        image.reduce = 2  # type: ignore[assignment]
        expected = np.asarray(image)
    assert np.array_equal(found.pixels, expected)


def test_level_is_limited_to_the_lowest_resolution() -> None:
    data = j2k(FILM, resolutions=2)  # the film and one halving
    assert decoded(data, 3).lattice.level == 1


def test_codestream_in_a_jp2_file_is_reduced() -> None:
    data = imagecodecs.jpeg2k_encode(FILM, codecformat="JP2", reversible=True, bitspersample=12)
    assert np.array_equal(decoded(data, 2).pixels, analysed(FILM, 2, 12))


def test_comment_after_the_last_tile_part_does_not_matter() -> None:
    data = j2k(FILM)
    padded = data[:-2] + b"\xff\x64\x00\x0b\x00\x01PADDING" + data[-2:]
    assert np.array_equal(decoded(padded, 1).pixels, analysed(FILM, 1, 12))


def test_cut_stream_is_truncated() -> None:
    data = j2k(FILM)
    with pytest.raises(FilmError) as caught:
        decode_reduced(data[: len(data) // 2], read_frame_header(data), 1)
    assert caught.value.reason is Reason.TRUNCATED


NOT_REDUCED = {
    "colour": j2k(np.stack([FILM] * 3, axis=2)),
    "image offset": by_pillow(FILM, tile_size=(128, 256), tile_offset=(0, 0), offset=(8, 8)),
    "odd tiles": by_pillow(FILM, tile_size=(129, 65)),
    "one resolution": j2k(FILM, resolutions=1),
    "jpeg-ls": imagecodecs.jpegls_encode(FILM),
}


@pytest.mark.parametrize("data", NOT_REDUCED.values(), ids=NOT_REDUCED.keys())
def test_stream_of_unknown_geometry_is_decoded_whole(data: bytes) -> None:
    assert decode_reduced(data, read_frame_header(data), 2) is None


@pytest.mark.parametrize("marker", [0x53, 0x5E, 0x5D], ids=["COC", "RGN", "QCC"])
def test_coding_style_of_one_component_alone_is_not_supported(marker: int) -> None:
    data = j2k(FILM)
    style = coding_style(data)
    assert style is not None and style.progression is Progression.LRCP
    segment = bytes([0xFF, marker]) + b"\x00\x05\x00\x00\x00"
    assert coding_style(data[: style.cod] + segment + data[style.cod :]) is None


def test_stream_that_does_not_decode_reduced_is_decoded_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_options: object) -> np.ndarray:
        raise RuntimeError("this codec fails")

    monkeypatch.setattr(imagecodecs, "jpeg2k_decode", broken)
    assert decode_reduced(j2k(FILM), read_frame_header(j2k(FILM)), 1) is None


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["baseline", "progressive"])
@pytest.mark.parametrize("size", [(304, 272), (301, 261)])
def test_half_size_jpeg_is_close_to_the_mean_of_its_blocks(size: tuple[int, int], options: dict[str, bool]) -> None:
    out = io.BytesIO()
    Image.fromarray(film(*size, bits=8).astype(np.uint8)).save(out, "JPEG", quality=92, **options)
    found = decoded(out.getvalue(), 3)
    whole = imagecodecs.jpeg8_decode(out.getvalue())
    assert found.pixels.shape == found.lattice.shape == ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert (found.lattice.level, found.lattice.kernel, found.lattice.excess) == (1, Kernel.BLOCK, 0)
    rows, columns = size[0] // 2, size[1] // 2
    means = whole[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))
    difference = found.pixels[:rows, :columns] - means
    assert np.abs(difference).mean() < 0.5
    assert abs(difference.mean()) < 0.05


@pytest.mark.parametrize(
    "data",
    [
        imagecodecs.jpeg8_encode(FILM, 95, bitspersample=12),
        imagecodecs.jpeg8_encode(FILM, lossless=True, bitspersample=12),
        imagecodecs.jpeg8_encode(np.stack([FILM >> 4] * 3, axis=2).astype(np.uint8), 95),
    ],
    ids=["12 bits", "lossless", "colour"],
)
def test_other_jpeg_is_decoded_whole(data: bytes) -> None:
    assert decode_reduced(data, read_frame_header(data), 1) is None


def test_damaged_jpeg_prints_nothing_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(imagecodecs.jpeg8_encode((FILM >> 4).astype(np.uint8), 92))
    data[len(data) // 2 : len(data) // 2 + 3] = b"\x00\xff\xd3"
    decode_reduced(bytes(data), read_frame_header(bytes(data)), 1)
    assert capfd.readouterr().err == ""
