"""Check that a cleaned lung mask can be that of a chest film; reject the film otherwise.

A network gives a mask for any picture: a hand, a page of text, a film with inverted grey values. The bundle's card
limits the share of the film that is lung. The limits below are on the shape of the mask. They reject pictures, not
patients: all 3,696 annotated lung masks of the project's test data (adults and children, stretched to a square grid)
pass. The range observed on 2,113 of them, from every source, is stated with each limit.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from cxr_schemas import Reason
from cxr_schemas.card import Postprocess
from cxrlib.errors import FilmError
from cxrlib.measuring.lung_sides import LungSides
from cxrlib.measuring.regions import Regions, row_range

#: Largest number of regions of a mask after small regions were removed (observed: 1 to 2).
MAX_REGIONS: Final = 8
#: Largest share of the film's four edges that is lung (observed: 0 to 0.15); the background covers most of them.
MAX_EDGE_SHARE: Final = 0.5
#: Smallest height of the mask, as a share of the film's height (observed: 0.25 to 1).
MIN_HEIGHT: Final = 0.12
#: Width over height of the mask (observed: 0.49 for a single lung to 1.93).
MIN_ASPECT: Final = 0.12
MAX_ASPECT: Final = 4.0
#: Largest share of its bounding box that a mask fills (observed: 0.21 to 0.71); a rectangle is not a lung.
MAX_BOX_FILL: Final = 0.95
#: Smallest share of the shorter lung's height over which the other lung is beside it (observed: 0.77 to 1).
MIN_SIDE_BY_SIDE: Final = 0.2


def check_lung_share(lung: NDArray[np.bool_], constants: Postprocess) -> None:
    """Check that the film has a lung, and that its share of the film is within the card's limits.

    Raises
    ------
    FilmError
        NO_LUNG if the mask is empty; IMPLAUSIBLE_LUNG if the share is outside the limits.
    """
    pixels = int(np.count_nonzero(lung))
    if pixels == 0:
        raise FilmError(
            Reason.NO_LUNG,
            expected=f"lung at a probability above {constants.lung_threshold:g}",
            got="no pixel that is lung",
        )
    share = pixels / lung.size
    least, most = constants.min_lung_fraction, constants.max_lung_fraction
    if not least <= share <= most:
        raise _implausible(f"lung on {100 * least:g} to {100 * most:g} % of the film", f"{100 * share:.1f} %")


def check_lung_shape(regions: Regions, sides: LungSides) -> None:
    """Check that the mask has a shape that a chest film can have.

    Parameters
    ----------
    regions : Regions
        Regions of the cleaned mask, at least one.
    sides : LungSides
        The same mask as left and right lung.

    Raises
    ------
    FilmError
        IMPLAUSIBLE_LUNG, with the limit that is exceeded and the value.
    """
    if len(regions) > MAX_REGIONS:
        raise _implausible(f"a lung mask of at most {MAX_REGIONS} regions", f"{len(regions)}")
    lung = regions.mask
    rows, columns = lung.shape
    on_edge = sum(int(np.count_nonzero(edge)) for edge in (lung[0], lung[-1], lung[:, 0], lung[:, -1]))
    edge = on_edge / (2 * (rows + columns))
    if edge > MAX_EDGE_SHARE:
        raise _implausible(f"lung on at most {100 * MAX_EDGE_SHARE:g} % of the film's edges", f"{100 * edge:.0f} %")
    height, width = regions.height, regions.width
    if height < MIN_HEIGHT * rows:
        raise _implausible(f"lungs at least {100 * MIN_HEIGHT:g} % of the film high", f"{100 * height / rows:.1f} %")
    # Measured on a square grid, so that the limits hold for every input shape.
    aspect = (width / columns) / (height / rows)
    if not MIN_ASPECT <= aspect <= MAX_ASPECT:
        raise _implausible(f"lungs {MIN_ASPECT:g} to {MAX_ASPECT:g} times as wide as high", f"{aspect:.2f}")
    filled = int(regions.areas.sum()) / (height * width)
    if filled > MAX_BOX_FILL:
        raise _implausible(
            f"lungs that fill at most {100 * MAX_BOX_FILL:g} % of the rectangle around them", f"{100 * filled:.1f} %"
        )
    _check_side_by_side(sides)


def _check_side_by_side(sides: LungSides) -> None:
    left, right = row_range(sides.left), row_range(sides.right)
    shorter = min(left.stop - left.start, right.stop - right.start)
    if shorter == 0:
        return
    shared = (min(left.stop, right.stop) - max(left.start, right.start)) / shorter
    if shared < MIN_SIDE_BY_SIDE:
        raise _implausible(
            f"two lungs side by side over at least {100 * MIN_SIDE_BY_SIDE:g} % of the shorter one's height",
            f"{100 * max(shared, 0.0):.0f} %",
        )


def _implausible(expected: str, got: str) -> FilmError:
    return FilmError(Reason.IMPLAUSIBLE_LUNG, expected=expected, got=got)
