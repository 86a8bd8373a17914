"""Check the size of a film before anything of it is decoded."""

from __future__ import annotations

from cxr_schemas import Reason
from cxrlib.errors import FilmError
from cxrlib.settings import ReadSettings


def check_size(rows: int, columns: int, settings: ReadSettings) -> None:
    """Raise FilmError TOO_SMALL or TOO_LARGE where `rows` x `columns` pixels are outside what the settings allow."""
    if min(rows, columns) < settings.min_side:
        raise FilmError(
            Reason.TOO_SMALL, expected=f"at least {settings.min_side} rows and columns", got=f"{rows} x {columns}"
        )
    if rows * columns > settings.max_pixels:
        raise FilmError(
            Reason.TOO_LARGE,
            expected=f"at most {settings.max_pixels} pixels",
            got=f"{rows} x {columns} = {rows * columns}",
        )
