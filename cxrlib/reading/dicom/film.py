"""Read a DICOM film: header, checks, stored values, display. Each step is one module of this package, in this order."""

from __future__ import annotations

from cxrlib.privacy import Pseudonymiser
from cxrlib.reading.dicom.display import display_of, grey_scale_width
from cxrlib.reading.dicom.eligibility import check_eligible
from cxrlib.reading.dicom.facts import facts_of
from cxrlib.reading.dicom.file import open_dicom
from cxrlib.reading.dicom.orientation import placement_of
from cxrlib.reading.dicom.pixels import stored_values
from cxrlib.reading.dicom.view import projection_of
from cxrlib.reading.lattice import Grid
from cxrlib.reading.raw_image import RawImage
from cxrlib.settings import ReadSettings


def read_dicom(data: bytes, settings: ReadSettings, pseudonymiser: Pseudonymiser, grid: Grid | None = None) -> RawImage:
    """Read a DICOM film.

    Parameters
    ----------
    data : bytes
        The whole file, with or without preamble and file meta.
    settings : ReadSettings
    pseudonymiser : Pseudonymiser
        Decides what of the patient's identifiers and dates is stored.
    grid : Grid, optional
        Size that the upright film will be averaged to. Then no more is decoded than that needs.

    Raises
    ------
    FilmError
        Any reason of `open_dicom`, `check_eligible` and `stored_values`, in this order.
    """
    file = open_dicom(data, settings.max_bytes)
    header = file.header
    projection = projection_of(header)
    check_eligible(file, projection, len(data), settings)
    placement = placement_of(header)
    stored_grid = grid.turned() if grid is not None and placement.transpose else grid
    stored = stored_values(file, settings, stored_grid, grey_scale_width(header))
    display = display_of(header, stored.pixels.dtype)
    facts = facts_of(file, projection, placement, pseudonymiser, inverted=display.inverse)
    return RawImage(stored.pixels, stored.bits, display, placement, facts, stored.lattice)
