"""The plots of a report: each is a PNG with one panel per source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, roc_curve

from cxr_schemas import FilmClass
from cxrlib.evaluation.figures.class_figures import confidence
from cxrlib.evaluation.figures.figure import CLASS_NAMES
from cxrlib.evaluation.figures.film_columns import CLASSES, FilmColumns
from cxrlib.evaluation.figures.infection_figures import AGREEMENT_POINTS
from cxrlib.evaluation.figures.statistics import (
    CALIBRATION_BINS,
    PerFilm,
    calibration_bin,
    calibration_error,
    limit_of_agreement,
    mean,
    roc_auc,
)
from cxrlib.evaluation.report.plot_panels import CLASS_COLOURS, FAINT, INK, panel_grid
from cxrlib.measuring.metrics import PixelMetric

#: A source with fewer films gets no panel.
MIN_FILMS: Final = 10
#: A calibration bin with fewer films gets a hollow dot.
MIN_FILMS_PER_BIN: Final = 5

_DOT: Final = "#0072b2"

ColumnsBySource = Mapping[str, FilmColumns]


def lung_dice(sources: ColumnsBySource) -> bytes | None:
    """Draw histograms of the lung Dice of each film; None if no source has enough films."""
    return _histograms(sources, lambda c: c.lung.per_film[PixelMetric.DICE], lowest=0.8, label="lung Dice of a film")


def infection_dice(sources: ColumnsBySource) -> bytes | None:
    """Draw histograms of the infection Dice of each truly infected film; None if no source has enough films."""
    return _histograms(
        sources,
        lambda c: np.where(c.truly_infected == 1, c.infection.per_film[PixelMetric.DICE], np.nan),
        lowest=0.0,
        label="infection Dice of an infected film",
    )


def _histograms(
    sources: ColumnsBySource, get: Callable[[FilmColumns], PerFilm], lowest: float, label: str
) -> bytes | None:
    shown = _with_enough_films(sources, lambda c: ~np.isnan(get(c)))
    if not shown:
        return None
    with panel_grid(len(shown), height=2.2) as grid:
        for source, c in shown.items():
            values = get(c)
            middle = float(np.nanmedian(values))
            axes = grid.next(_title(source, ~np.isnan(values)), f"median {middle:.3f}")
            edges = np.linspace(lowest, 1, 41).tolist()
            parts = [(name, films & ~np.isnan(values)) for name, films in _by_class(c)]
            # Films below the axis are counted in its first bar, so that all films are visible.
            axes.hist(
                [np.maximum(values[films], lowest) for _, films in parts if films.any()],
                edges,
                stacked=True,
                color=[CLASS_COLOURS[name] for name, films in parts if films.any()],
            )
            axes.axvline(middle, color=INK, linewidth=0.8, linestyle="--")
            axes.set_xlabel(f"{label} (first bar: {lowest:g} or less)" if lowest else label)
            axes.set_ylabel("films")
        grid.add_class_legend(_classes(shown, lambda c: ~np.isnan(get(c))))
        return grid.png()


def confusion(sources: ColumnsBySource) -> bytes | None:
    """Draw confusion matrices with films and share of the true class; None if no source has enough films."""
    shown = _with_enough_films(sources, _labelled)
    if not shown:
        return None
    with panel_grid(len(shown), width=2.8, height=2.7) as grid:
        for source, c in shown.items():
            _confusion(grid.next(_title(source, _labelled(c))), c)
        return grid.png()


def _confusion(axes: Axes, c: FilmColumns) -> None:
    known = _labelled(c)
    labels = [*range(len(CLASSES)), -1]
    counts = confusion_matrix(c.true_class[known], c.called[known], labels=labels)[: len(CLASSES)]
    columns = len(CLASSES) + bool(counts[:, -1].any())
    counts = counts[:, :columns]
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(*counts.shape):
        text = f"{counts[row, column]}\n{100 * shares[row, column]:.0f} %" if totals[row, 0] else "-"
        dark = shares[row, column] > 0.55
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else INK)
    names = [CLASS_NAMES[film_class] for film_class in CLASSES]
    axes.set_xticks(range(columns), [*names, "rejected"][:columns])
    axes.set_yticks(range(len(names)), names, rotation=90, va="center")
    axes.set_xlabel("called")
    axes.set_ylabel("truly")
    axes.tick_params(length=0)


def roc(sources: ColumnsBySource) -> bytes | None:
    """Draw the ROC curve of each class against the others; None if no source has two classes and enough films."""
    shown = _with_enough_films(sources, _classified, lambda c: np.unique(c.true_class[_classified(c)]).size > 1)
    if not shown:
        return None
    with panel_grid(len(shown), height=2.8) as grid:
        for source, c in shown.items():
            axes = grid.next(_title(source, _classified(c)))
            axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.7)
            for number, film_class in enumerate(CLASSES):
                scores, positive = c.probability[_classified(c), number], c.true_class[_classified(c)] == number
                if positive.any() and not positive.all():
                    alarms, found, _ = roc_curve(positive, scores)
                    area = roc_auc(scores, positive.astype(np.float64), np.ones((1, scores.size)))[0]
                    label = f"{CLASS_NAMES[film_class]} {area:.3f}"
                    axes.plot(alarms, found, color=CLASS_COLOURS[film_class], linewidth=1.3, label=label)
            axes.set_xlabel("1 - specificity")
            axes.set_ylabel("sensitivity")
            axes.set_aspect("equal")
            axes.legend(loc="lower right", title="area", title_fontsize=7)
        return grid.png()


def reliability(sources: ColumnsBySource) -> bytes | None:
    """Draw the share of right calls against the called class's probability; None if no source has enough films."""
    shown = _with_enough_films(sources, _classified)
    if not shown:
        return None
    with panel_grid(len(shown), height=2.8) as grid:
        for source, c in shown.items():
            known = _classified(c)
            probability, right = confidence(c)[known], (c.called == c.true_class)[known].astype(np.float64)
            error = calibration_error(probability, right, np.ones((1, probability.size)))[0]
            _reliability(grid.next(_title(source, known), f"error {error:.3f}"), probability, right)
        return grid.png()


def _reliability(axes: Axes, probability: PerFilm, right: PerFilm) -> None:
    bins = calibration_bin(probability)
    counts = np.bincount(bins, minlength=CALIBRATION_BINS)
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    axes.bar(edges[:-1], counts / counts.sum(), np.diff(edges), align="edge", color="#e6e6e6", zorder=0)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.7)
    for filled, colour in ((True, _DOT), (False, "white")):
        numbers = [number for number in np.flatnonzero(counts) if (counts[number] >= MIN_FILMS_PER_BIN) == filled]
        in_bin = [bins == number for number in numbers]
        axes.scatter(
            [probability[films].mean() for films in in_bin],
            [right[films].mean() for films in in_bin],
            [10 + 60 * np.sqrt(films.mean()) for films in in_bin],
            color=colour,
            edgecolors=_DOT,
            linewidths=0.9,
            zorder=3,
            clip_on=False,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("probability of the called class")
    axes.set_ylabel("share that is right (bars: films)")


def percent_scatter(sources: ColumnsBySource) -> bytes | None:
    """Draw measured against true percent infected; None if no source has enough films."""
    shown = _with_enough_films(sources, _both_percents)
    if not shown:
        return None
    with panel_grid(len(shown), height=2.9) as grid:
        for source, c in shown.items():
            axes = grid.next(_title(source, _both_percents(c)))
            line = np.array([0.0, 100.0])
            axes.fill_between(line, line - AGREEMENT_POINTS, line + AGREEMENT_POINTS, color="#eeeeee", linewidth=0)
            axes.plot(line, line, color=FAINT, linewidth=0.7)
            _dots(axes, c, c.true_percent, c.percent)
            axes.set_xlim(-2, 102)
            axes.set_ylim(-2, 102)
            axes.set_aspect("equal")
            axes.set_xlabel("percent drawn")
            axes.set_ylabel("percent measured")
        grid.add_class_legend(_classes(shown, _both_percents))
        return grid.png()


def bland_altman(sources: ColumnsBySource) -> bytes | None:
    """Draw the difference of measured and true percent against their mean, with the limits of agreement.

    None if no source has enough films.
    """
    shown = _with_enough_films(sources, _both_percents)
    if not shown:
        return None
    with panel_grid(len(shown), height=2.6) as grid:
        for source, c in shown.items():
            axes = grid.next(_title(source, _both_percents(c)))
            differences = (c.percent - c.true_percent)[_both_percents(c)]
            ones = np.ones((1, differences.size))
            low, high = (float(limit_of_agreement(differences, ones, side)[0]) for side in (-1, 1))
            bias = float(mean(differences, ones)[0])
            axes.axhspan(low, high, color="#eeeeee", linewidth=0)
            axes.axhline(0, color=FAINT, linewidth=0.7)
            _dots(axes, c, (c.percent + c.true_percent) / 2, c.percent - c.true_percent)
            for value, style in ((bias, "-"), (low, "--"), (high, "--")):
                axes.axhline(value, color=INK, linewidth=0.9, linestyle=style)
                axes.annotate(
                    f"{value:+.1f}", (1.0, value), xycoords=("axes fraction", "data"), va="center", fontsize=7
                )
            reach = max(10.0, float(np.abs(differences).max()) * 1.08)
            axes.set_ylim(-reach, reach)
            axes.set_xlabel("mean of drawn and measured, percent")
            axes.set_ylabel("measured - drawn, points")
        grid.add_class_legend(_classes(shown, _both_percents))
        return grid.png()


def extent_scatter(sources: ColumnsBySource) -> bytes | None:
    """Draw percent infected against the radiologists' geographic extent; None if no source has enough films."""

    def known(c: FilmColumns) -> NDArray[np.bool_]:
        return np.asarray(~np.isnan(c.extent) & ~np.isnan(c.percent))

    shown = _with_enough_films(sources, known)
    if not shown:
        return None
    with panel_grid(len(shown), height=2.6) as grid:
        for source, c in shown.items():
            axes = grid.next(_title(source, known(c)))
            _dots(axes, c, c.extent, c.percent)
            axes.set_xlabel("geographic extent, 0 to 8, mean of readers")
            axes.set_ylabel("percent measured")
        grid.add_class_legend(_classes(shown, known))
        return grid.png()


def _dots(axes: Axes, c: FilmColumns, x: PerFilm, y: PerFilm) -> None:
    for name, films in _by_class(c):
        axes.scatter(x[films], y[films], 7, color=CLASS_COLOURS[name], alpha=0.55, linewidths=0, zorder=3)


def _by_class(c: FilmColumns) -> list[tuple[FilmClass | None, NDArray[np.bool_]]]:
    return [*((film_class, c.is_class(film_class)) for film_class in CLASSES), (None, np.asarray(c.true_class < 0))]


def _labelled(c: FilmColumns) -> NDArray[np.bool_]:
    return np.asarray(c.true_class >= 0)


def _classified(c: FilmColumns) -> NDArray[np.bool_]:
    return np.asarray((c.true_class >= 0) & (c.called >= 0))


def _both_percents(c: FilmColumns) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(c.percent) & ~np.isnan(c.true_percent))


def _with_enough_films(
    sources: ColumnsBySource,
    known: Callable[[FilmColumns], NDArray[np.bool_]],
    usable: Callable[[FilmColumns], bool] = lambda _: True,
) -> dict[str, FilmColumns]:
    return {name: c for name, c in sources.items() if np.count_nonzero(known(c)) >= MIN_FILMS and usable(c)}


def _title(source: str, films: NDArray[np.bool_]) -> str:
    return f"{source} ({np.count_nonzero(films):,})"


def _classes(shown: ColumnsBySource, known: Callable[[FilmColumns], NDArray[np.bool_]]) -> list[FilmClass | None]:
    """Return the classes with at least one plotted film."""
    return [
        name for name in (*CLASSES, None) if any((dict(_by_class(c))[name] & known(c)).any() for c in shown.values())
    ]
