"""Write the archives of the benchmarks: phantom films of 3000 x 2500 pixels, one archive per way of storing them.

A few films are drawn and hard-linked under as many names as the archive has films. Programs list, read, decode and
score every name as an object of its own, but all of them read the bytes from the page cache.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cxrlib.phantom.archive import ImageFormat, Style, write_archive
from cxrlib.phantom.dicom_style import DicomStyle
from cxrlib.phantom.transfer_syntax import TransferSyntax

ROWS, COLUMNS = 3000, 2500

_JPEG_2000: Final = DicomStyle(TransferSyntax.JPEG_2000_LOSSLESS)
_JPEG_LOSSLESS: Final = DicomStyle(TransferSyntax.JPEG_LOSSLESS_SV1)
_JPEG_LS: Final = DicomStyle(TransferSyntax.JPEG_LS, bits_stored=16)
_NATIVE: Final = DicomStyle(TransferSyntax.EXPLICIT_LE)
_RLE: Final = DicomStyle(TransferSyntax.RLE)
_JPEG: Final = DicomStyle(TransferSyntax.JPEG_BASELINE, bits_stored=8)

#: The styles of each archive, used in turn. The mix of a hospital is an assumption: half is stored as an archive
#: compresses today, a quarter as archives did before, the rest as devices and other sites send it.
ARCHIVES: Final[dict[str, tuple[Style, ...]]] = {
    "native": (_NATIVE,),
    "rle": (_RLE,),
    "jpeg_lossless": (_JPEG_LOSSLESS,),
    "jpeg_ls": (_JPEG_LS,),
    "jpeg_2000": (_JPEG_2000,),
    "png": (ImageFormat.PNG_8,),
    "mix": (
        *(_JPEG_2000, _JPEG_LOSSLESS, _JPEG_2000, _NATIVE, _JPEG_2000, _JPEG_LOSSLESS),
        *(_JPEG_2000, _JPEG_LS, _JPEG_2000, _JPEG_LOSSLESS, _JPEG, _JPEG_2000),
    ),
}
#: Number of films drawn for an archive; enough for every style of the mix.
DISTINCT: Final = 24


def make_archive(folder: Path, styles: Sequence[Style], films: int, *, distinct: int = DISTINCT, side: int = 0) -> Path:
    """Write an archive and return the folder of its films; their names are the same in every run.

    Parameters
    ----------
    folder : Path
        Empty or new.
    side : int
        Rows and columns of every film in pixels; 0 for `ROWS` by `COLUMNS`.
    """
    drawn = folder / "drawn"
    write_archive(
        str(drawn), min(distinct, films), seed=4, rows=side or ROWS, columns=side or COLUMNS, styles=tuple(styles)
    )
    sources = sorted(path for path in (drawn / "films").rglob("*") if path.is_file())
    archive = folder / "films"
    for number in range(films):
        source = sources[number % len(sources)]
        link = archive / f"{number // 500:03d}" / f"film-{number:06d}{source.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, link)
    return archive
