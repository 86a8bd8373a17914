"""The report of an evaluation: one page that a person reads, with the same figures as data beside it."""

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
#: Rejected films that are listed by name; all are in the table of films.
_REJECTS_NAMED: Final = 40


@dataclass(frozen=True, slots=True)
class _Plot:
    """A plot of a section: which output of a bundle it needs, how it is drawn, and what is to be seen in it."""

    section: Section
    needs: str
    draw: Callable[[Mapping[str, FilmColumns]], bytes | None]
    caption: str


_PLOTS: Final = (
    _Plot(
        Section.LUNG,
        "lung",
        plots.lung_dice,
        "Lung Dice of each film, by true class. Dashed: the median.",
    ),
    _Plot(
        Section.INFECTION,
        "infection",
        plots.infection_dice,
        "Infection Dice of each film that is truly infected. At 0 stand films whose infection was missed.",
    ),
    _Plot(
        Section.CLASSES,
        "classes",
        plots.confusion,
        "Films by true and called class; percent of the true class.",
    ),
    _Plot(
        Section.CLASSES,
        "classes",
        plots.roc,
        "ROC curves of each class against the others, with the area under each.",
    ),
    _Plot(
        Section.CLASSES,
        "classes",
        plots.reliability,
        "How often the called class is right, against its probability. On the diagonal a probability is what it says; "
        f"under it the bundle is too sure. Dots grow with the films of their bin (hollow: fewer than "
        f"{plots.MIN_FILMS_PER_BIN}), grey bars are their share; at the upper right the calibration error.",
    ),
    _Plot(
        Section.PERCENT,
        "infection",
        plots.percent_scatter,
        f"Percent infected as measured and as drawn. Grey: within {AGREEMENT_POINTS:g} points.",
    ),
    _Plot(
        Section.PERCENT,
        "infection",
        plots.bland_altman,
        "Bland-Altman: the difference against the mean of the two. Solid: mean difference; dashed: limits of agreement "
        "(95 in 100 differences lie between them, were they spread normally).",
    ),
    _Plot(
        Section.PERCENT,
        "infection",
        plots.extent_scatter,
        "Percent infected as measured, against radiologists' geographic extent (0 to 8). Only the ranks can agree.",
    ),
)


def write_report(
    evaluation: Evaluation,
    pictures: Mapping[str, Sequence[FilmPicture]],
    folder: Path,
    *,
    shown: ShownFilms = ShownFilms.ALL,
) -> Path:
    """Write ``report.html`` (self-contained), ``figures.json`` and ``films.csv`` into a folder; return the page's path.

    The same films and bundle give the same bytes.

    Parameters
    ----------
    evaluation : Evaluation
    pictures : mapping of str to sequence of Picture
        The worst films by ranking, as `cxrlib.evaluation.report.worst_films.draw_worst_films` gives them.
    folder : Path
        Made where it is not there; files of these names are replaced.
    shown : Shown
        Which films the pictures were to be of, as the page says.
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
    """Return the page."""
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
    dropped = list(rejected_films(evaluation.results))
    return environment.get_template("report.html").render(
        evaluation=evaluation,
        card=card,
        by_source=tables.source_table(sources),
        glance=tables.overview_table(evaluation.measured, sources),
        sections=sections,
        not_measured=not_measured(card),
        resamples=RESAMPLES,
        rejects=[(reason, count, _MEANING[reason]) for reason, count in count_rejects(evaluation.results)],
        rejected_films=[(film.sample.image.name, film.sample.source, film.reason) for film in dropped[:_REJECTS_NAMED]],
        rejected_more=max(len(dropped) - _REJECTS_NAMED, 0),
        shown=shown.value,
        pictures={title: [_shown(picture) for picture in films] for title, films in pictures.items()},
    )


def _section(section: Section, evaluation: Evaluation, sources: Mapping[str, FilmColumns]) -> dict[str, Any]:
    card = evaluation.bundle.card
    by_class = section is Section.CLASSES
    return {
        "title": section.value,
        "anchor": section.name.lower(),
        "plots": [
            drawn for plot in _PLOTS if plot.section is section and (drawn := _drawn(plot, sources, card)) is not None
        ],
        "by_class": tables.class_table(evaluation.measured, sources) if by_class else None,
        "table": tables.section_table(evaluation.measured, figures_for(card), section),
    }


def _drawn(plot: _Plot, sources: Mapping[str, FilmColumns], card: Card) -> dict[str, str] | None:
    png = plot.draw(sources) if has_output(card, plot.needs) else None
    return None if png is None else {"caption": plot.caption, "data": _embedded(png, "png")}


def _embedded(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _overlap(name: str, dice: float | None, drawn: Mask | None) -> str:
    if dice is not None:
        return f"{name} Dice {dice:.3f}"
    return f"no {name} drawn" if drawn is None else f"{name} drawn by another convention"


def _shown(picture: FilmPicture) -> dict[str, Any]:
    film = picture.film
    called = film.film_class
    facts = []
    if film.sample.film_class is not None and called is not None and film.probabilities is not None:
        sure = film.probabilities[called]
        facts.append(f"{CLASS_NAMES[film.sample.film_class]}, called {CLASS_NAMES[called]} ({sure:.2f})")
    facts.append(_overlap("lung", film.lung_dice, film.sample.lung))
    if film.percent is not None:
        facts.append(_overlap("infection", film.infection_dice, film.sample.infection))
    if film.percent is not None:
        drawn = "" if film.truth.percent is None else f", drawn {film.truth.percent:.1f}\N{NO-BREAK SPACE}%"
        facts.append(f"measured {film.percent:.1f}\N{NO-BREAK SPACE}%{drawn}")
    return {
        "data": _embedded(picture.jpeg, "jpeg"),
        "name": film.sample.image.name,
        "source": film.sample.source,
        "facts": facts,
    }
