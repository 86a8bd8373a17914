"""Detect truncated films from their pixels, where the codec did not complain: all rows below some line have one value.

A truncated file is rejected with the reason TRUNCATED and not scored. Other modules detect missing bytes first:

- `cxrlib.reading.dicom.eligibility`: the file ends within the DICOM header.
- `cxrlib.reading.dicom.pixel_data`: pixel data, fragments or a deflated stream end early, or there is no fragment.
- `cxrlib.reading.dicom.pixel_layout`: native pixel data are too short for the size in the header.
- `cxrlib.reading.dicom.photometric`: the palette has too few entries.
- `cxrlib.reading.codecs.frame_header`: a codestream ends within its header or has no end marker.
- `cxrlib.reading.codecs.jpeg`: libjpeg warns that the data end before the film is full.
- `cxrlib.reading.codecs.rle`: the header, a segment or the run lengths end early.
- `cxrlib.reading.raster`: a PNG ends within its header or before its IEND chunk.

This module detects the rest: a transfer that stopped leaves zeros in native pixel data, and libjpeg paints the missing
part in one grey. For a film decoded at reduced resolution see `cxrlib.reading.whole_film_checks`.

A collimated or padded film ends in one value too, so a flat band alone proves nothing. The difference:

- A cut can be anywhere in a scan line, or in a row of JPEG blocks. The image then ends in a *step*: a few rows that are
  film up to one column and flat after it, with full film above and nothing below. No shutter has that shape.
- A cut exactly between two rows leaves no step. Then only a large band counts, only if the rows above it are film from
  edge to edge, and only if the top of the film has no such band (a film padded to a square has two).

Measured: none of 4,510 real films is rejected. One synthetic film was cut at every seventh pixel, except where the
method cannot see the cut: a step within 1 % of a side, or a cut between two rows that removes less than a fifth. All
cuts that left zeros or white were detected. Of the cuts that left a grey of the film itself, 4 of 4,451 were missed.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError

#: Smallest share of flat rows that counts as a cut, with a step above them.
STEPPED: Final = 0.01

#: Smallest share of flat rows that counts as a cut, with a straight edge above them.
STRAIGHT: Final = 0.20

#: Most rows of a step: a row of blocks of a JPEG with subsampled chroma.
_HIGHEST_STEP: Final = 16

#: The left part of a step is film if it resembles the row above more than the flat value does: its mean difference from
#: that row is less than this share of the flat value's.
_CONTINUES: Final = 0.85

#: Share of the flat value at the side of a row from which it counts as frame, not as film.
_FRAME: Final = 0.02


def check_truncation(pixels: NDArray[np.integer]) -> None:
    """Raise TRUNCATED where the lower part of `pixels` is missing.

    Parameters
    ----------
    pixels : integer array, rows x columns
        As stored, before the film is turned: only then is a cut at the bottom.

    Raises
    ------
    FilmError
        TRUNCATED, with the number of flat rows.
    """
    rows = len(pixels)
    value = pixels[-1, -1]
    flat = _flat_rows(pixels[::-1], value)
    if flat == rows or flat < STEPPED * rows:
        return
    above = pixels[: rows - flat]
    step = _step_height(above, value)
    if step or (flat >= STRAIGHT * rows and _is_film_edge(above, value) and _flat_rows(pixels, value) < flat // 4):
        raise FilmError(
            Reason.TRUNCATED,
            expected=f"{rows} rows of image",
            got=f"a single value in the last {flat}",
        )


def _flat_rows(pixels: NDArray[np.integer], value: np.integer) -> int:
    """Return how many rows, from the first, contain only `value`."""
    rows = len(pixels)
    done = 0
    while done < rows:
        block = pixels[done : done + 64]
        differs = (block != value).any(axis=1)
        if differs.any():
            return done + int(differs.argmax())
        done += len(block)
    return rows


def _step_height(above: NDArray[np.integer], value: np.integer) -> int:
    """Return the height of the step at the bottom of `above`, or 0 where there is none."""
    last = above[-(_HIGHEST_STEP + 1) :]
    columns = last.shape[1]
    ends = columns - (np.cumsum(last[:, ::-1] != value, axis=1) == 0).sum(axis=1)  # first column of the flat part
    corner = int(ends[-1])
    if not columns // 100 < corner < columns - columns // 100:
        return 0
    height = 0
    while height < len(ends) and ends[-1 - height] == corner:
        height += 1
    if height >= len(ends) or ends[-1 - height] < columns - columns // 100:
        return 0
    # Film from the left edge on: a round or slanted shutter leaves its value on both sides.
    if _frame_share(last[-height:, :corner], value) >= _FRAME:
        return 0
    # The film part of a step continues the film above it. The half-dark row where a picture fades into its border does
    # not.
    before, within = last[-height - 1, :corner].astype(np.int32), last[-height, :corner].astype(np.int32)
    continues = np.abs(within - before).mean() < _CONTINUES * np.abs(before - int(value)).mean()
    return height if bool(continues) else 0


def _is_film_edge(above: NDArray[np.integer], value: np.integer) -> bool:
    """Return whether `above` ends in film from edge to edge, without its last rows, which may be a step near a side."""
    film = above[:-_HIGHEST_STEP][-_HIGHEST_STEP:]
    return len(film) > 0 and _frame_share(film, value) + _frame_share(film[:, ::-1], value) < _FRAME


def _frame_share(rows: NDArray[np.integer], value: np.integer) -> float:
    """Return the share of `rows` that is `value` without interruption from the first column on."""
    return float((np.cumsum(rows != value, axis=1) == 0).mean())
