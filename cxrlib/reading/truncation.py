"""Films that were cut although their codec did not complain: everything below some line has one value.

A transfer that stopped leaves zeros in native pixel data, and libjpeg paints what is missing in one grey. A collimated
or padded film ends in one value too, so a flat band alone proves nothing. What tells them apart:

- A cut falls anywhere in a scan line, or in a row of JPEG blocks. The image then ends in a *step*: a few rows that are
  film up to one column and flat from there on, full film above and nothing below. No shutter has that shape.
- Where the cut happens to fall between rows there is no step. Then only a large band counts, only if the rows above it
  are film from edge to edge, and only if the top of the film has no such band (a film padded to a square has two).

Measured: none of 4,510 real films is refused. Of cuts at every seventh pixel of one made film (steps nearer to a side
than 1 % and small straight bands left out), all that left zeros or white are found, and all but 4 in 4,451 that left
some grey of the film itself. A cut that falls exactly between two rows and costs less than a fifth is not found.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxrlib.errors import FilmError

#: Least share of the rows that is flat, with a step above it.
STEPPED: Final = 0.01

#: Least share of the rows that is flat, with a straight edge above it.
STRAIGHT: Final = 0.20

#: Highest step: a row of blocks of a JPEG with subsampled chroma.
_HIGHEST_STEP: Final = 16

#: The film beside a step differs from the row above it by less than this share of what that row differs from flat.
_CONTINUES: Final = 0.85

#: Share of one value in a row of film that is not film but frame.
_FRAME: Final = 0.02


def check_tail(pixels: NDArray[np.integer]) -> None:
    """Raise TRUNCATED where the lower part of `pixels` was plainly never there.

    Parameters
    ----------
    pixels : integer array, rows x columns
        As stored: a cut is at the bottom only before the film is turned.

    Raises
    ------
    FilmError
        TRUNCATED, with the number of rows that are missing.
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
            got=f"one single value in the last {flat}",
        )


def _flat_rows(pixels: NDArray[np.integer], value: np.integer) -> int:
    """Return how many rows, from the first, hold nothing but `value`."""
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
    # What is left of the step goes on with the film above; the half-dark row where a picture fades into its border
    # does not.
    before, within = last[-height - 1, :corner].astype(np.int32), last[-height, :corner].astype(np.int32)
    goes_on = np.abs(within - before).mean() < _CONTINUES * np.abs(before - int(value)).mean()
    return height if bool(goes_on) else 0


def _is_film_edge(above: NDArray[np.integer], value: np.integer) -> bool:
    """Return whether `above` ends in film from edge to edge; a step that is too near a side to be one is left out."""
    film = above[:-_HIGHEST_STEP][-_HIGHEST_STEP:]
    return len(film) > 0 and _frame_share(film, value) + _frame_share(film[:, ::-1], value) < _FRAME


def _frame_share(rows: NDArray[np.integer], value: np.integer) -> float:
    """Return the share of `rows` that is `value` from the first column on; within the film that is a grey like any."""
    return float((np.cumsum(rows != value, axis=1) == 0).mean())
