"""What a reduced film cannot tell: then the whole film is decoded, so that every verdict is that of the whole.

Whether a film is constant, was cut, is shown by its window or is a negative is decided at bounds. A reduced film lies
on the same side of them unless it lies near; near means here a margin far wider than the reduction moves anything.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.truncation import STEPPED

#: Share of the film's range within which a pixel counts as the value of its last row: lossy codecs ripple.
_RIPPLE: Final = 1 / 128

#: A row is film from edge to edge where less than this share of it at either side has the value of the last row. The
#: judgement on whole films asks for less than 0.02 (`cxrlib.reading.truncation`).
_EDGE: Final = 0.05

#: Rows that a cut smears over at most, and rows above the flat ones that are looked at.
_SMEAR: Final = 3
_ABOVE: Final = 6


class WholeFilmNeededError(Exception):
    """A reduced film lies too near to a bound; only the whole one can be judged. Never leaves `cxrlib.reading.read`."""


def check_foot(samples: NDArray[np.integer]) -> None:
    """Raise WholeFilmNeededError where the film might end in a cut (`cxrlib.reading.truncation`), or is flat altogether.

    A film was possibly cut where its last row has one value and a row above the flat ones is film from side to side.
    A collimated film is flat at its sides too, and is let pass.

    Parameters
    ----------
    samples : integer array, rows x columns
        The reduced film as stored.
    """
    value = int(samples[-1, -1])
    ripple = _RIPPLE * (int(samples.max()) - int(samples.min()))
    last = samples[-1].astype(np.int32)
    if np.abs(last - value).max() > ripple:
        return
    differs = np.abs(samples.astype(np.int32) - value) > ripple
    film = np.flatnonzero(differs.any(axis=1))
    if len(film) == 0:
        raise WholeFilmNeededError
    flat = len(samples) - 1 - int(film[-1])
    if flat + _SMEAR < STEPPED * len(samples):
        return
    above = differs[max(film[-1] + 1 - _ABOVE, 0) : film[-1] + 1]
    edge = int(_EDGE * samples.shape[1]) + 1
    if (above[:, :edge].any(axis=1) & above[:, -edge:].any(axis=1)).any():
        raise WholeFilmNeededError
