"""What a comparison of two bundles is told as: tables for a terminal, and the same as a page of markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxrlib.results.compare import Agreement, Cell, Comparison, Outcome

_MEANING = {
    Outcome.COMPARED: "scored by both, from the same bytes",
    Outcome.CHANGED: "replaced between the two, so not compared",
    Outcome.REJECTED_NEW: "scored by the old bundle, rejected under the new",
    Outcome.REJECTED_OLD: "rejected under the old bundle, scored by the new",
    Outcome.ONLY_OLD: "never got by the new bundle",
    Outcome.ONLY_NEW: "never got by the old bundle",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its title, heads and rows, all text."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(got: Comparison) -> list[Sheet]:
    """Return a comparison as tables; those without a row are left out."""
    made = [
        Sheet(
            "Films",
            ("Films", "Number", "Meaning"),
            tuple((of.value, str(n), _MEANING[of]) for of, n in got.outcomes if n),
        ),
        _cross("Class, old (down) to new (across)", got.classes),
        Sheet("Percent infected, new minus old (Bland and Altman)", ("Figure", "Value"), _agreement(got.percent)),
        _cross("Grade, old (down) to new (across)", got.grades),
        Sheet(
            "Most changed",
            ("Film", "Old %", "New %", "Difference"),
            tuple((of.uri, f"{of.old:.2f}", f"{of.new:.2f}", f"{of.difference:+.2f}") for of in got.most_changed),
        ),
        Sheet(
            "Rejected by one of the two",
            ("Films", "Reason", "Number"),
            tuple((of.by.value, of.reason, str(of.films)) for of in got.rejections),
        ),
        Sheet("Replaced objects", ("Film",), tuple((uri,) for uri in got.changed)),
    ]
    return [sheet for sheet in made if sheet.rows]


def headline(got: Comparison) -> str:
    """Return a comparison in one sentence."""
    films = got.count(Outcome.COMPARED)
    said = f"{films} films compared, {got.old} to {got.new}: {got.class_changes} changed their class"
    percent = got.percent
    if percent.lower is not None:
        said += f"; percent infected {percent.mean:+.2f} points, limits {percent.lower:+.2f} to {percent.upper:+.2f}"
    return said if got.same_settings else f"{said}. The rows were made under different settings too"


def comparison_markdown(got: Comparison) -> str:
    """Return a comparison as a markdown page."""
    parts = [f"# {got.old} to {got.new}", headline(got) + "."]
    for sheet in sheets(got):
        lines = ["| " + " | ".join(map(_cell, row)) + " |" for row in (sheet.heads, *sheet.rows)]
        lines.insert(1, "|" + "---|" * len(sheet.heads))
        parts += [f"## {sheet.title}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _cross(title: str, cells: Sequence[Cell]) -> Sheet:
    """Return counts of pairs of words as a cross table; a word that neither side has is left out."""
    words = [(cell.old, cell.new) for cell in cells if cell.old is not None or cell.new is not None]
    old, new = (sorted({pair[side] or "none given" for pair in words}) for side in (0, 1))
    counts = {(cell.old or "none given", cell.new or "none given"): cell.films for cell in cells}
    rows = tuple((of, *(str(counts.get((of, to), 0)) for to in new)) for of in old)
    return Sheet(title, ("", *new), rows)


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
