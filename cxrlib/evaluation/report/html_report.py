"""Write the report of an evaluation: one HTML page, and the same figures as JSON and CSV."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2

from cxr_schemas import Card, Reason
from cxrlib.datasets.sample import Mask
from cxrlib.evaluation.data_files import Evaluation, count_rejects, film_table, json_text
from cxrlib.evaluation.figures.catalog import figures_for, has_output, not_measured
from cxrlib.evaluation.figures.figure import CLASS_NAMES, Section
from cxrlib.evaluation.figures.film_columns import FilmColumns
from cxrlib.evaluation.figures.infection_figures import AGREEMENT_POINTS
from cxrlib.evaluation.measured_figures import RESAMPLES, columns_by_source
from cxrlib.evaluation.report import plots, tables
from cxrlib.evaluation.report.worst_films import FilmPicture, ShownFilms, rejected_films

REPORT_FILE: Final = "report.html"
FIGURES_FILE: Final = "figures.json"
FILMS_FILE: Final = "films.csv"

_MEANING: Final = {reason.value: reason.description for reason in Reason}
#: The page lists at most so many rejected films by name. ``films.csv`` lists all.
_MAX_REJECTS_LISTED: Final = 40


@dataclass(frozen=True, slots=True)
class _Plot:
    """A plot of a section: the output of a bundle that it needs, its drawing function and its caption."""

    section: Section
    output: str
    draw: Callable[[Mapping[str, FilmColumns]], bytes | None]
    caption: str


_PLOTS: Final = (
    _Plot(
        Section.LUNG,
        "lung",
        plots.lung_dice,
        "Lung Dice of each film, by true class. Dashed line: the median.",
    ),
    _Plot(
        Section.INFECTION,
        "infection",
        plots.infection_dice,
        "Infection Dice of each truly infected film. At 0: films whose infection was missed.",
    ),
    _Plot(
        Section.CLASSES,
        "classes",
        plots.confusion,
        "Films by true and called class, with percent of the true class.",
    ),
    _Plot(
        Section.CLASSES,
        "classes",
        plots.roc,
        "ROC curve of each class against the others, with the area under the curve.",
    ),
    _Plot(
        Section.CLASSES,
        "classes",
        plots.reliability,
        "Share of right calls against the probability of the called class. On the diagonal the probabilities are well "
        "calibrated; below it the bundle is overconfident. The dot size grows with the films in a bin (hollow: fewer "
        f"than {plots.MIN_FILMS_PER_BIN}). Grey bars: share of films. Upper right: the calibration error.",
    ),
    _Plot(
        Section.PERCENT,
        "infection",
        plots.percent_scatter,
        f"Percent infected, measured against drawn. Grey: within {AGREEMENT_POINTS:g} points.",
    ),
    _Plot(
        Section.PERCENT,
        "infection",
        plots.bland_altman,
        "Bland-Altman plot: difference of measured and drawn percent against their mean. Solid line: mean difference. "
        "Dashed lines: limits of agreement, which hold 95 % of differences if these are normally distributed.",
    ),
    _Plot(
        Section.PERCENT,
        "infection",
        plots.extent_scatter,
        "Measured percent infected against the radiologists' geographic extent (0 to 8). Only their ranks can agree.",
    ),
)


def write_report(
    evaluation: Evaluation,
    pictures: Mapping[str, Sequence[FilmPicture]],
    folder: Path,
    *,
    shown: ShownFilms = ShownFilms.ALL,
) -> Path:
    """Write ``report.html`` (self-contained), ``figures.json`` and ``films.csv`` to a folder.

    The same films and bundle give the same bytes.

    Parameters
    ----------
    evaluation : Evaluation
    pictures : mapping of str to sequence of Picture
        Pictures by ranking, from `cxrlib.evaluation.report.worst_films.draw_worst_films`.
    folder : Path
        Created if missing. Existing files of these names are replaced.
    shown : ShownFilms
        Which films the pictures were chosen from; the page states it.

    Returns
    -------
    Path
        Path of ``report.html``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FIGURES_FILE).write_text(json_text(evaluation), encoding="utf-8")
    film_table(evaluation.results).to_csv(folder / FILMS_FILE, index=False, float_format="%.6g", lineterminator="\n")
    page = folder / REPORT_FILE
    page.write_text(render_html(evaluation, pictures, shown), encoding="utf-8")
    return page


def render_html(
    evaluation: Evaluation, pictures: Mapping[str, Sequence[FilmPicture]], shown: ShownFilms = ShownFilms.ALL
) -> str:
    """Return the HTML page of an evaluation."""
    card, sources = evaluation.bundle.card, columns_by_source(evaluation.results)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cxrlib.evaluation.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    sections = [
        _section(section, evaluation, sources)
        for section in Section
        if any(item.figure.section is section for item in evaluation.measured)
    ]
    rejected = list(rejected_films(evaluation.results))
    return environment.get_template("report.html").render(
        evaluation=evaluation,
        card=card,
        by_source=tables.source_table(sources),
        glance=tables.overview_table(evaluation.measured, sources),
        sections=sections,
        not_measured=not_measured(card),
        resamples=RESAMPLES,
        rejects=[(reason, count, _MEANING[reason]) for reason, count in count_rejects(evaluation.results)],
        rejected_films=[
            (film.sample.image.name, film.sample.source, film.reason) for film in rejected[:_MAX_REJECTS_LISTED]
        ],
        rejected_more=max(len(rejected) - _MAX_REJECTS_LISTED, 0),
        shown=shown.value,
        pictures={title: [_picture(picture) for picture in films] for title, films in pictures.items()},
    )


def _section(section: Section, evaluation: Evaluation, sources: Mapping[str, FilmColumns]) -> dict[str, Any]:
    card = evaluation.bundle.card
    by_class = section is Section.CLASSES
    return {
        "title": section.value,
        "anchor": section.name.lower(),
        "plots": [
            image
            for plot in _PLOTS
            if plot.section is section and (image := _plot_image(plot, sources, card)) is not None
        ],
        "by_class": tables.class_table(evaluation.measured, sources) if by_class else None,
        "table": tables.section_table(evaluation.measured, figures_for(card), section),
    }


def _plot_image(plot: _Plot, sources: Mapping[str, FilmColumns], card: Card) -> dict[str, str] | None:
    png = plot.draw(sources) if has_output(card, plot.output) else None
    return None if png is None else {"caption": plot.caption, "data": _data_url(png, "png")}


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _dice_text(name: str, dice: float | None, drawn: Mask | None) -> str:
    if dice is not None:
        return f"{name} Dice {dice:.3f}"
    return f"no {name} drawn" if drawn is None else f"{name} drawn by another convention"


def _picture(picture: FilmPicture) -> dict[str, Any]:
    film = picture.film
    called = film.film_class
    facts = []
    if film.sample.film_class is not None and called is not None and film.probabilities is not None:
        probability = film.probabilities[called]
        facts.append(f"{CLASS_NAMES[film.sample.film_class]}, called {CLASS_NAMES[called]} ({probability:.2f})")
    facts.append(_dice_text("lung", film.lung_dice, film.sample.lung))
    if film.percent is not None:
        facts.append(_dice_text("infection", film.infection_dice, film.sample.infection))
    if film.percent is not None:
        drawn = "" if film.truth.percent is None else f", drawn {film.truth.percent:.1f}\N{NO-BREAK SPACE}%"
        facts.append(f"measured {film.percent:.1f}\N{NO-BREAK SPACE}%{drawn}")
    return {
        "data": _data_url(picture.jpeg, "jpeg"),
        "name": film.sample.image.name,
        "source": film.sample.source,
        "facts": facts,
    }
