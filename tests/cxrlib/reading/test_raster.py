"""PNG and JPEG films of every kind give their stored values."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cxr_schemas import Reason, SourceFormat
from cxrlib.errors import FilmError
from cxrlib.reading.lattice import Grid
from cxrlib.reading.placement import UPRIGHT, upright
from cxrlib.reading.raster import EXIF_PLACEMENTS, read_jpeg, read_png
from cxrlib.settings import ReadSettings
from tests.support.film_files import film, jpeg, png, png_chunk

FILM = film(bits=8).astype(np.uint8)
SETTINGS = ReadSettings()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def interlaced(pixels: np.ndarray) -> bytes:
    """Return a PNG in the seven passes of Adam7 (PNG 8.2), which neither Pillow nor imagecodecs writes."""
    import zlib

    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + line.tobytes()
        for row, column, row_step, column_step in passes
        for line in pixels[row::row_step, column::column_step]
    )
    size = pixels.shape[1].to_bytes(4, "big") + pixels.shape[0].to_bytes(4, "big")
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", size + bytes([8, 0, 0, 0, 1]))
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


PNGS = {
    "grey": png(FILM),
    "grey with alpha": saved(Image.fromarray(FILM).convert("LA")),
    "rgb": saved(Image.fromarray(FILM).convert("RGB")),
    "rgba": saved(Image.fromarray(FILM).convert("RGBA")),
    "palette": saved(Image.fromarray(FILM).convert("P")),
    "interlaced": interlaced(FILM),
}


@pytest.mark.parametrize("data", PNGS.values(), ids=PNGS.keys())
def test_png_of_every_colour_type_gives_the_film(data: bytes) -> None:
    raw = read_png(data, SETTINGS)
    assert np.array_equal(raw.pixels, FILM)
    assert raw.facts.source_format is SourceFormat.PNG
    assert (raw.facts.rows, raw.facts.columns, raw.facts.spacing_mm) == (160, 144, None)


def test_png_of_16_bits_keeps_them() -> None:
    pixels = film(bits=16)
    assert np.array_equal(read_png(png(pixels), SETTINGS).pixels, pixels)


def test_png_of_one_bit_is_read() -> None:
    bilevel = FILM > 100
    assert np.array_equal(read_png(saved(Image.fromarray(bilevel)), SETTINGS).pixels > 0, bilevel)


def test_bytes_after_the_end_of_a_png_are_ignored() -> None:
    assert np.array_equal(read_png(png(FILM) + b"trailer", SETTINGS).pixels, FILM)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_grey_or_of_equal_channels_is_read(mode: str, progressive: bool) -> None:
    data = saved(Image.fromarray(FILM).convert(mode), "JPEG", quality=95, progressive=progressive)
    raw = read_jpeg(data, SETTINGS)
    assert np.abs(raw.pixels.astype(int) - FILM).mean() < 2
    assert raw.facts.source_format is SourceFormat.JPEG


def test_cmyk_jpeg_is_not_grey() -> None:
    with pytest.raises(FilmError) as caught:
        read_jpeg(saved(Image.fromarray(FILM).convert("CMYK"), "JPEG"), SETTINGS)
    assert caught.value.reason is Reason.NOT_GREY


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg_is_applied_as_viewers_do(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(FILM), "JPEG", quality=95, exif=exif)
    raw = read_jpeg(data, SETTINGS)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.abs(upright(raw.pixels, raw.placement).astype(int) - shown).max() <= 1
    assert (raw.facts.rows, raw.facts.columns) == shown.shape
    assert raw.facts.mirrored == (orientation != 1)


def test_exif_orientations_are_the_eight_symmetries() -> None:
    film = np.arange(6).reshape(2, 3)
    turned = {
        upright(film, placement).tobytes() + bytes(upright(film, placement).shape)
        for placement in EXIF_PLACEMENTS.values()
    }
    assert len(turned) == 8
    # 6: the first row of the file is the right side of the picture, so it is turned clockwise.
    assert np.array_equal(upright(film, EXIF_PLACEMENTS[6]), np.rot90(film, -1))
    assert np.array_equal(upright(film, EXIF_PLACEMENTS[8]), np.rot90(film))


def test_broken_exif_is_ignored() -> None:
    data = jpeg(FILM)
    broken = b"\xff\xe1\x00\x0eExif\x00\x00MM\x00*\xff\xff"
    assert read_jpeg(data[:2] + broken + data[2:], SETTINGS).placement == UPRIGHT


def test_jpeg_turned_by_exif_is_halved_for_the_grid_of_the_upright_film() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.fromarray(film(600, 300, bits=8).astype(np.uint8)), "JPEG", quality=95, exif=exif)
    assert read_jpeg(data, SETTINGS, Grid(38, 75)).lattice is None  # 300 rows are not eight times 38
    raw = read_jpeg(data, SETTINGS, Grid(37, 75))
    assert raw.lattice is not None
    assert raw.pixels.shape == (300, 150)
    assert (raw.facts.rows, raw.facts.columns) == (300, 600)
