"""From a DICOM file to its stored values: unpacked or decoded, sign extended, one grey channel.

The layout is that of the Image Pixel module (DICOM PS3.3 C.7.6.3) and of PS3.5 sections 8.1 and 8.2. Every size is
taken from the header before anything is allocated, and compared with what the bytes hold and with what the codestream
declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.reading import colour as grey
from cxrlib.reading.codecs import decode, frame_header
from cxrlib.reading.codecs.decode import SYNTAXES, Packing
from cxrlib.reading.codecs.frame_header import FrameHeader
from cxrlib.reading.codecs.reduced import decode_reduced
from cxrlib.reading.dicom.eligibility import check_size
from cxrlib.reading.dicom.encapsulation import is_encapsulated, join_fragments
from cxrlib.reading.dicom.file import DicomFile
from cxrlib.reading.dicom.header import Header
from cxrlib.reading.lattice import Grid, Lattice
from cxrlib.settings import ReadSettings

Pixels = NDArray[np.integer]

_MONOCHROME: Final = ("MONOCHROME1", "MONOCHROME2")
_COLOURS: Final = ("RED", "GREEN", "BLUE")


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """The Image Pixel module of one film; attribute names are those of DICOM PS3.3 C.7.6.3.1."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    by_plane: bool
    photometric: str

    @classmethod
    def of(cls, header: Header) -> PixelLayout:
        """Read the module.

        Raises
        ------
        FilmError
            DECODER_FAILED where the values contradict each other or are not those of an image of 8 or 16 bits.
        """
        allocated = header.integer("BitsAllocated") or 0
        stored = header.integer("BitsStored") or allocated
        high_bit = header.integer("HighBit")
        samples = header.integer("SamplesPerPixel") or 1
        layout = cls(
            rows=header.integer("Rows") or 0,
            columns=header.integer("Columns") or 0,
            samples=samples,
            allocated=allocated,
            stored=stored,
            high_bit=stored - 1 if high_bit is None else high_bit,
            signed=header.integer("PixelRepresentation") == 1,
            by_plane=header.integer("PlanarConfiguration") == 1,
            photometric=(
                header.text("PhotometricInterpretation") or ("RGB" if samples == 3 else "MONOCHROME2")
            ).upper(),
        )
        if allocated not in (8, 16) or samples not in (1, 3) or not 1 <= stored <= layout.high_bit + 1 <= allocated:
            raise FilmError(
                Reason.DECODER_FAILED,
                expected="8 or 16 bits allocated, no more stored, in 1 or 3 samples",
                got=f"{allocated} allocated, {stored} stored, high bit {layout.high_bit}, {samples} samples",
            )
        return layout

    @property
    def native_samples(self) -> int:
        """Samples that native pixel data hold per pixel; YBR_FULL_422 stores two for three (PS3.5 8.2)."""
        return 2 if self.photometric == "YBR_FULL_422" else self.samples


@dataclass(frozen=True, slots=True, eq=False)
class StoredValues:
    """A film's stored values.

    Attributes
    ----------
    pixels : uint8, uint16, int8 or int16 array, rows x columns
        Of the film, or of `lattice` where it is not None.
    bits : int
        That a value has at most: Bits Stored (0028,0101) of a monochrome film, those of its type where it was colour.
    lattice : Lattice or None
    """

    pixels: Pixels
    bits: int
    lattice: Lattice | None = None


def stored_values(
    file: DicomFile, settings: ReadSettings, grid: Grid | None = None, shown: float = 0.0
) -> StoredValues:
    """Return the film's stored values.

    Parameters
    ----------
    file : DicomFile
        A file that `eligible.refuse` let pass.
    settings : ReadSettings
        For the guards.
    grid : Grid, optional
        What the film is to be averaged to, as it is stored: allows to decode no more than that takes.
    shown : float
        As `reduced.decode_reduced` takes it.

    Raises
    ------
    FilmError
        TRUNCATED, TOO_LARGE, DECODER_FAILED or NOT_GREY.
    """
    layout = PixelLayout.of(file.header)
    need = layout.rows * layout.columns * layout.native_samples * layout.allocated // 8
    if need > settings.max_bytes:
        raise FilmError(Reason.TOO_LARGE, expected=f"at most {settings.max_bytes} bytes of pixels", got=str(need))
    body = file.body(settings.max_bytes)
    element = file.pixels
    if element is None:
        raise FilmError(Reason.NO_PIXELS, expected="Pixel Data (7FE0,0010)", got="none")
    left = len(body) - element.offset
    if element.length is not None and element.length > left:
        raise FilmError(Reason.TRUNCATED, expected=f"{element.length} bytes of pixel data", got=str(left))
    value = body[element.offset :] if element.length is None else body[element.offset :][: element.length]
    packing = SYNTAXES[file.syntax]
    # Some writers give encapsulated data a length, or label them with a native syntax; the items themselves tell.
    frame: bytes | memoryview | None = None
    if element.length is None or (packing is not Packing.NATIVE and is_encapsulated(value)):
        frame = join_fragments(value)
    elif packing is not Packing.NATIVE:
        frame = value
    if not frame:
        native = _unpack(value, layout, need, file.little_endian)
        return _whole(_to_grey(native, layout, file.header, transformed=False), layout)
    if packing is Packing.RLE:
        planes = decode.decode_rle(frame, layout.rows, layout.columns, layout.samples, layout.allocated // 8)
        pixels = planes if planes.ndim == 2 else np.moveaxis(planes, 0, 2)
        return _whole(_to_grey(_align(pixels, layout), layout, file.header, transformed=False), layout)
    frame = bytes(frame)
    declared = _checked_frame_header(frame, layout, settings)
    if grid is not None and _may_be_averaged(layout, file.header, declared):
        level = grid.spare_level(layout.rows, layout.columns, layout.stored)
        reduced = decode_reduced(frame, declared, level, shown)
        if reduced is not None:
            return StoredValues(reduced.pixels, layout.stored, reduced.lattice)
    return _whole(_from_codestream(frame, layout, file.header, declared, settings), layout)


def _whole(pixels: Pixels, layout: PixelLayout) -> StoredValues:
    monochrome = layout.photometric in _MONOCHROME
    return StoredValues(pixels, layout.stored if monochrome else 8 * pixels.dtype.itemsize)


def _may_be_averaged(layout: PixelLayout, header: Header, declared: FrameHeader) -> bool:
    """Return whether a mean of stored values is a stored value: not of palette indices, signs mistaken, padding."""
    return (
        layout.photometric in _MONOCHROME
        and layout.signed == declared.signed
        and header.integer("PixelPaddingValue") is None
    )


def _checked_frame_header(frame: bytes, layout: PixelLayout, settings: ReadSettings) -> FrameHeader:
    declared = frame_header.frame_header(frame)
    check_size(declared.rows, declared.columns, settings)
    expected = (layout.rows, layout.columns, layout.samples)
    if (declared.rows, declared.columns, declared.samples) != expected:
        raise FilmError(
            Reason.DECODER_FAILED,
            expected=f"rows, columns, samples {expected} as the header says",
            got=f"{(declared.rows, declared.columns, declared.samples)} in the codestream",
        )
    return declared


def _from_codestream(
    frame: bytes, layout: PixelLayout, header: Header, declared: FrameHeader, settings: ReadSettings
) -> Pixels:
    pixels = decode.decode_codestream(frame, declared, damaged_jpeg=settings.damaged_jpeg)
    if pixels.ndim == 3:
        return _grey_of_colour_stream(pixels, frame, min(declared.bits, layout.stored), layout.photometric)
    if layout.signed and pixels.dtype.kind == "u":
        # JPEG has no sign; the bit pattern is that of the stored value (PS3.5 8.2.1). A signed JPEG 2000 is believed.
        pixels = _sign_extend(pixels, max(layout.stored, 1))
    return _to_grey(pixels, layout, header, transformed=True)


def _grey_of_colour_stream(pixels: Pixels, frame: bytes, bits: int, photometric: str) -> Pixels:
    """Return the grey of a decoded colour stream, under whichever colour model its channels agree.

    libjpeg takes three channels without an Adobe or JFIF mark for YCbCr, though DICOM writers store RGB so; and
    JPEG 2000 may hold YCbCr that no transform of its own has made.
    """
    try:
        return grey.from_rgb(pixels, bits)
    except FilmError:
        if photometric == "RGB" and frame.startswith(b"\xff\xd8"):
            return grey.from_rgb(decode.decode_colour_as_stored(frame), bits)
        if photometric.startswith("YBR_FULL"):
            return grey.from_ybr(pixels, bits)
        raise


def _unpack(value: memoryview, layout: PixelLayout, need: int, little_endian: bool) -> Pixels:
    if len(value) < need:
        raise FilmError(Reason.TRUNCATED, expected=f"{need} bytes of pixel data", got=str(len(value)))
    order = "<" if little_endian else ">"
    dtype = np.dtype(np.uint8) if layout.allocated == 8 else np.dtype(f"{order}u2")
    flat = np.frombuffer(value, dtype, count=need // dtype.itemsize)
    if not little_endian and layout.allocated == 16:
        flat = flat.astype(np.uint16)
    if layout.native_samples == 2:
        # Two pixels share a chroma pair: Y1 Y2 Cb Cr (PS3.3 C.7.6.3.1.2). Luma alone is spread to full width.
        quads = flat.reshape(layout.rows, layout.columns // 2, 4)
        luma = quads[..., :2].reshape(layout.rows, layout.columns)
        chroma = np.repeat(quads[..., 2:], 2, axis=1)
        return np.concatenate([luma[..., None], chroma], axis=2)
    if layout.samples == 1:
        pixels: Pixels = flat.reshape(layout.rows, layout.columns)
    elif layout.by_plane:
        pixels = np.moveaxis(flat.reshape(layout.samples, layout.rows, layout.columns), 0, 2)
    else:
        pixels = flat.reshape(layout.rows, layout.columns, layout.samples)
    return _align(pixels, layout)


def _align(pixels: Pixels, layout: PixelLayout) -> Pixels:
    """Return the stored bits alone: shifted down to bit 0, overlay bits above them cleared, sign extended."""
    shift = layout.high_bit + 1 - layout.stored
    if shift:
        pixels = pixels >> shift
    if layout.signed:
        return _sign_extend(pixels, layout.stored)
    # Overlay bits are rare, and looking for them is several times as fast as clearing them.
    return pixels & ((1 << layout.stored) - 1) if int(pixels.max()) >> layout.stored else pixels


def _sign_extend(pixels: Pixels, stored: int) -> Pixels:
    """Return `pixels` as two's complement of `stored` bits (PS3.5 8.1.1)."""
    width = 8 * pixels.dtype.itemsize
    signed = pixels.astype(f"u{pixels.dtype.itemsize}").view(f"i{pixels.dtype.itemsize}")
    spare = width - stored
    return (signed << spare) >> spare if spare > 0 else signed


def _to_grey(pixels: Pixels, layout: PixelLayout, header: Header, *, transformed: bool) -> Pixels:
    if layout.photometric == "PALETTE COLOR" and pixels.ndim == 2:
        return _through_palette(pixels, header)
    if pixels.ndim == 2:
        if layout.photometric not in _MONOCHROME:
            raise FilmError(
                Reason.DECODER_FAILED, expected="a grey or palette photometric interpretation", got="one of colour"
            )
        return pixels
    if layout.photometric.startswith("YBR_FULL") and not transformed:
        return grey.from_ybr(pixels, layout.stored)
    return grey.from_rgb(pixels, layout.stored)


def _through_palette(indices: Pixels, header: Header) -> Pixels:
    """Look indices up in the three palettes (PS3.3 C.7.6.3.1.5 and C.7.6.3.1.6)."""
    channels = []
    bits = first = 0
    for colour in _COLOURS:
        descriptor = header.numbers(f"{colour.title()}PaletteColorLookupTableDescriptor")
        data = header.data(f"{colour.title()}PaletteColorLookupTableData")
        if len(descriptor) != 3 or data is None:
            raise FilmError(Reason.DECODER_FAILED, expected="three palettes", got="one missing or segmented")
        entries, first, bits = (int(each) for each in descriptor)
        entries = entries or 2**16
        wide = len(data) >= 2 * entries
        channel = np.frombuffer(data, header.word if wide else np.uint8)[:entries]
        if len(channel) < entries:
            raise FilmError(Reason.TRUNCATED, expected=f"{entries} palette entries", got=str(len(channel)))
        channels.append(channel.astype(np.uint16))
    if len({len(channel) for channel in channels}) != 1:
        raise FilmError(Reason.DECODER_FAILED, expected="palettes of one length", got="different ones")
    # Many palettes of 16 bits hold 8-bit colours; full scale is then what their largest entry needs.
    colours = np.stack(channels, axis=1)
    return grey.from_palette(indices, first, colours, 8 if bits <= 8 or int(colours.max()) < 256 else 16)
