"""The localisation map of a film: which parts support its class, by Grad-CAM (hybrid, section Localization).

Grad-CAM gives one value per cell of a network's layer, for example 8 x 8 for CoAtNet-0 at 256 x 256. The map is made
from these cells:

1. Negative values, which lower the class logit, become 0.
2. The largest value of the film becomes 1. Values are rounded to steps of 1/255.
3. Between the centres of the cells, the map is linear.

A row stores the cells after step 2, so decoding them gives exactly the map that was measured. The network's paper does
not state these steps; they are those of Grad-CAM's authors (ReLU, Selvaraju et al. Eq. 2) and of common practice.

Cells are stored as text: ``<rows>x<columns>:`` and the Base64 (RFC 4648 section 4) of one byte per cell, 0 to 255 for 0
to 1, row by row from the top left of the film.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrlib.types import Prediction

#: Most cells per side. A finer layer is averaged over areas first, to limit the text of a row to 1.4 kB.
MAX_CELLS: Final = 32
_STEPS: Final = 255
_PATTERN: Final = re.compile(r"([1-9]\d?)x([1-9]\d?):([A-Za-z0-9+/]+={0,2})")


def to_cells(attribution: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the cells of one film's map: steps 1 and 2 above.

    Parameters
    ----------
    attribution : float32 array, rows x columns of the explained layer
        Grad-CAM of any scale; finite.

    Returns
    -------
    uint8 array
        At most `MAX_CELLS` per side, 0 to 255 for 0 to 1. All 0 if no value is positive.
    """
    from cxrlib.reading.resample import resize  # noqa: PLC0415 - OpenCV, which reading results does not need

    rows, columns = attribution.shape
    reduced = resize(np.maximum(attribution, np.float32(0)), min(rows, MAX_CELLS), min(columns, MAX_CELLS))
    largest = reduced.max()
    if not largest > 0:
        return np.zeros(reduced.shape, np.uint8)
    cells: NDArray[np.uint8] = np.rint(reduced / largest * np.float32(_STEPS)).astype(np.uint8)
    return cells


def expand_cells(cells: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.float32]:
    """Return the map on a grid of `rows` x `columns`: float32 in [0, 1], linear between the centres of the cells."""
    from cxrlib.reading.resample import resize  # noqa: PLC0415 - OpenCV, which reading results does not need

    return resize(cells.astype(np.float32) / np.float32(_STEPS), rows, columns)


def localisation_map(prediction: Prediction) -> NDArray[np.float32] | None:
    """Return the map of one film, float32 in [0, 1] on the grid of its lung; None if the bundle has no localisation."""
    cells = prediction.localisation_cells
    return None if cells is None else expand_cells(cells, *prediction.lung.shape)


def encode(cells: NDArray[np.uint8]) -> str:
    """Return the cells of a map as text (ASCII)."""
    if cells.ndim != 2 or cells.dtype != np.uint8 or not 0 < max(cells.shape) <= MAX_CELLS or cells.size == 0:
        raise ValueError(f"expected uint8 cells, 1 to {MAX_CELLS} per side; got {cells.dtype} of shape {cells.shape}")
    rows, columns = cells.shape
    return f"{rows}x{columns}:{base64.b64encode(cells.tobytes()).decode('ascii')}"


def decode_cells(text: str) -> NDArray[np.uint8]:
    """Return the cells that `encode` wrote as `text`.

    Raises
    ------
    ValueError
        `text` is not what `encode` writes.
    """
    stored = _PATTERN.fullmatch(text)
    if stored is None:
        raise ValueError(f"expected <rows>x<columns>:<Base64>; got {len(text)} characters of another format")
    rows, columns = int(stored[1]), int(stored[2])
    try:
        data = base64.b64decode(stored[3], validate=True)
    except binascii.Error as error:
        raise ValueError(f"expected Base64 after {rows}x{columns}:; got other text") from error
    if len(data) != rows * columns or max(rows, columns) > MAX_CELLS:
        raise ValueError(
            f"expected one byte for each of {rows}x{columns} cells, at most {MAX_CELLS} per side; got {len(data)} bytes"
        )
    cells = np.frombuffer(data, np.uint8).reshape(rows, columns)
    if encode(cells) != text:
        raise ValueError(f"expected the Base64 of {len(data)} bytes; got extra bits")
    return cells


def decode(text: str, rows: int, columns: int) -> NDArray[np.float32]:
    """Return the map that a row stores as `text`: float32 in [0, 1].

    At the row's ``mask_rows`` x ``mask_columns`` it is the map that ``localisation_percent`` was measured on.

    Raises
    ------
    ValueError
        `text` is not what `encode` writes.
    """
    return expand_cells(decode_cells(text), rows, columns)
