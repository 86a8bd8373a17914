"""The grid of panels that every plot of a report uses: one panel per source, drawn without a display.

A picture depends on its data only, not on the time or the machine.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from cxr_schemas import FilmClass
from cxrlib.evaluation.figures.figure import CLASS_NAMES

#: The colour-blind safe palette of Okabe and Ito.
CLASS_COLOURS: Final[dict[FilmClass | None, str]] = {
    FilmClass.COVID19: "#d55e00",
    FilmClass.PNEUMONIA: "#0072b2",
    FilmClass.NORMAL: "#009e73",
    None: "#888888",
}
_CLASS_LABELS: Final[Mapping[FilmClass | None, str]] = {
    **dict(CLASS_NAMES.items()),
    None: "none of these",
}
INK: Final = "#333333"
FAINT: Final = "#bbbbbb"

_PANELS_PER_ROW: Final = 4
_DOTS_PER_INCH: Final = 130
#: Colours in the palette of a PNG. With a palette, a plot's file is a third as large.
_PALETTE_COLOURS: Final = 128
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "font.family": "DejaVu Sans",
}


class Panels:
    """A grid of panels, filled by row with `next`.

    Attributes
    ----------
    figure : Figure
    """

    def __init__(self, count: int, width: float, height: float) -> None:
        self._columns = min(count, _PANELS_PER_ROW)
        self._rows = ceil(count / self._columns)
        self._drawn = 0
        size = (width * self._columns, height * self._rows)
        self.figure = Figure(figsize=size, dpi=_DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(self.figure)

    def next(self, title: str, note: str = "") -> Axes:
        """Return the next panel, with a title at its upper left and a note at its upper right."""
        self._drawn += 1
        axes: Axes = self.figure.add_subplot(self._rows, self._columns, self._drawn)
        axes.set_title(title, loc="left")
        axes.set_title(note, loc="right", fontsize=8, fontweight="normal")
        return axes

    def add_class_legend(self, classes: Iterable[FilmClass | None]) -> None:
        """Add a legend of the class colours above the panels. None stands for films of no known class."""
        marks = [
            Line2D([], [], color=CLASS_COLOURS[name], marker="o", linestyle="", markersize=4, label=_CLASS_LABELS[name])
            for name in classes
        ]
        self.figure.legend(handles=marks, loc="outside upper left", ncols=len(marks), handletextpad=0.1)

    def png(self) -> bytes:
        """Return the figure as a PNG. The same panels give the same bytes."""
        drawn, data = io.BytesIO(), io.BytesIO()
        self.figure.savefig(drawn, format="png")
        with Image.open(drawn) as picture:
            palette = picture.convert("RGB").quantize(_PALETTE_COLOURS, dither=Image.Dither.NONE)
        palette.save(data, format="PNG", optimize=True)
        return data.getvalue()


@contextmanager
def panel_grid(count: int, width: float = 2.9, height: float = 2.6) -> Iterator[Panels]:
    """Return a context with a grid of `count` panels of `width` by `height` inches, in the report's style."""
    with mpl.rc_context(_STYLE):
        yield Panels(count, width, height)
