"""Request the whole film where a film decoded at reduced resolution is too close to a limit to be judged.

Four questions are decided by limits: is the film constant, is it truncated, does its window show it, is it a negative.
Where the reduced film is close to a limit, `WholeFilmNeededError` is raised and `cxrlib.reading.read` decodes the whole
film. So every decision equals that on the whole film. The margins are far wider than what the reduction changes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxrlib.reading.truncation import STEPPED

#: A pixel within this share of the film's range of the last value counts as equal to it, because lossy codecs ripple.
_RIPPLE: Final = 1 / 128

#: A row reaches both edges of the film if, at each side, less than this share of the row has the value of the last row.
#: The check of whole films is stricter: 0.02 (`cxrlib.reading.truncation`).
_EDGE: Final = 0.05

#: Most rows over which the reduction smears a cut, and rows above the flat ones that are examined.
_SMEAR: Final = 3
_ABOVE: Final = 6


class WholeFilmNeededError(Exception):
    """A reduced film is too close to a limit to be judged. Caught in `cxrlib.reading.read`."""


def check_reduced_truncation(samples: NDArray[np.integer]) -> None:
    """Raise WholeFilmNeededError where the film may be truncated (`cxrlib.reading.truncation`) or has only one value.

    A film may be truncated where its last row has one value and a row above the flat ones is film from edge to edge. A
    collimated film is flat at its sides too, so it passes.

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
