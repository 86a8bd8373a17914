"""What every plot of a report shares: a grid of panels, one a source, drawn without a display and without a clock."""

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

#: Colours of Okabe and Ito, which people who see red and green alike tell apart.
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

_ACROSS: Final = 4
_DOTS_PER_INCH: Final = 130
#: A plot has few colours; a palette makes its file a third as large.
_COLOURS: Final = 128
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
    """A grid of panels that fills as they are asked for.

    Attributes
    ----------
    figure : Figure
    """

    def __init__(self, count: int, width: float, height: float) -> None:
        across = min(count, _ACROSS)
        self._down = ceil(count / across)
        self._across = across
        self._drawn = 0
        self.figure = Figure(figsize=(width * across, height * self._down), dpi=_DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(self.figure)

    def next(self, title: str, said: str = "") -> Axes:
        """Return the next panel, titled, with what is to be said of it at its upper right."""
        self._drawn += 1
        axes: Axes = self.figure.add_subplot(self._down, self._across, self._drawn)
        axes.set_title(title, loc="left")
        axes.set_title(said, loc="right", fontsize=8, fontweight="normal")
        return axes

    def name_classes(self, classes: Iterable[FilmClass | None]) -> None:
        """Say above the panels which colour is which class; None is a film of none of them."""
        marks = [
            Line2D([], [], color=CLASS_COLOURS[of], marker="o", linestyle="", markersize=4, label=_CLASS_LABELS[of])
            for of in classes
        ]
        self.figure.legend(handles=marks, loc="outside upper left", ncols=len(marks), handletextpad=0.1)

    def png(self) -> bytes:
        """Return the picture. The same panels give the same bytes."""
        drawn, data = io.BytesIO(), io.BytesIO()
        self.figure.savefig(drawn, format="png")
        with Image.open(drawn) as picture:
            palette = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        palette.save(data, format="PNG", optimize=True)
        return data.getvalue()


@contextmanager
def panel_grid(count: int, width: float = 2.9, height: float = 2.6) -> Iterator[Panels]:
    """Give a grid of `count` panels, each of `width` by `height` inches, in the report's style."""
    with mpl.rc_context(_STYLE):
        yield Panels(count, width, height)
