"""Reports on a comparison of two bundles: tables for a terminal, and the same tables as a markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrlib.results.compare import Agreement, Comparison, Outcome, TransitionCount

_MEANING = {
    Outcome.COMPARED: "scored by both, from the same bytes",
    Outcome.CHANGED: "replaced between the two runs, so not compared",
    Outcome.REJECTED_NEW: "scored by the old bundle, rejected under the new",
    Outcome.REJECTED_OLD: "rejected under the old bundle, scored by the new",
    Outcome.ONLY_OLD: "not in the runs of the new bundle",
    Outcome.ONLY_NEW: "not in the runs of the old bundle",
}


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table of text: its title, column heads and rows."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def comparison_tables(got: Comparison) -> list[TextTable]:
    """Return a comparison as tables; empty tables are left out."""
    tables = [
        TextTable(
            "Films",
            ("Films", "Number", "Meaning"),
            tuple((outcome.value, str(n), _MEANING[outcome]) for outcome, n in got.outcomes if n),
        ),
        _cross("Class, old (down) to new (across)", got.classes),
        TextTable("Percent infected, new minus old (Bland and Altman)", ("Figure", "Value"), _agreement(got.percent)),
        _cross("Grade, old (down) to new (across)", got.grades),
        TextTable(
            "Most changed",
            ("Film", "Old %", "New %", "Difference"),
            tuple(
                (film.uri, f"{film.old:.2f}", f"{film.new:.2f}", f"{film.difference:+.2f}") for film in got.most_changed
            ),
        ),
        TextTable(
            "Rejected by one of the two",
            ("Films", "Reason", "Number"),
            tuple((reject.by.value, reject.reason, str(reject.films)) for reject in got.rejections),
        ),
        TextTable("Replaced objects", ("Film",), tuple((uri,) for uri in got.changed)),
    ]
    return [table for table in tables if table.rows]


def headline(got: Comparison) -> str:
    """Return a comparison in one sentence."""
    films = got.count(Outcome.COMPARED)
    text = f"{films} films compared, {got.old} to {got.new}: {got.class_changes} changed their class"
    percent = got.percent
    if percent.lower is not None:
        text += f"; percent infected {percent.mean:+.2f} points, limits {percent.lower:+.2f} to {percent.upper:+.2f}"
    return text if got.same_settings else f"{text}. The settings of the rows differ too"


def comparison_markdown(got: Comparison) -> str:
    """Return a comparison as a markdown page."""
    parts = [f"# {got.old} to {got.new}", headline(got) + "."]
    for table in comparison_tables(got):
        lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (table.heads, *table.rows)]
        lines.insert(1, "|" + "---|" * len(table.heads))
        parts += [f"## {table.title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _cross(title: str, cells: Sequence[TransitionCount]) -> TextTable:
    """Return counts of pairs of labels as a cross table; labels that occur on neither side are left out."""
    pairs = [(cell.old, cell.new) for cell in cells if cell.old is not None or cell.new is not None]
    old, new = (sorted({pair[side] or "none given" for pair in pairs}) for side in (0, 1))
    counts = {(cell.old or "none given", cell.new or "none given"): cell.films for cell in cells}
    rows = tuple((label, *(str(counts.get((label, to), 0)) for to in new)) for label in old)
    return TextTable(title, ("", *new), rows)


def _agreement(percent: Agreement) -> tuple[tuple[str, str], ...]:
    figures = {
        "mean difference": percent.mean,
        "standard deviation": percent.spread,
        "lower limit of agreement": percent.lower,
        "upper limit of agreement": percent.upper,
    }
    known = tuple((name, f"{value:+.2f}") for name, value in figures.items() if value is not None)
    return (("films", str(percent.films)), *known) if percent.films else ()


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")
