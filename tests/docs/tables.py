"""The tables of README.md that say what the code says: written from it, and checked against it by a test.

``python -m tests.docs.tables`` (``make readme``) writes each table between its pair of marker comments.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
from pydantic import BaseModel
from pydicom.uid import UID

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.options import SETTING_OF, variable_of
from cxr_schemas import REJECTS, SCORES, Reason
from cxrlib.models.architectures.catalog import CATALOG
from cxrlib.models.bundle import load_bundle
from cxrlib.reading.codecs.decode import SYNTAXES
from cxrlib.settings import Settings
from tests.support.paths import ROOT

README: Final = ROOT / "README.md"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")  # else `<etag>` would be taken for HTML


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def columns(schema: pa.Schema) -> str:
    """Return the table of a schema's columns: name, type, unit, meaning."""

    def row(field: pa.Field) -> tuple[str, str, str, str]:
        metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        type_ = "category" if pa.types.is_dictionary(field.type) else str(field.type)
        null = ", may be null" if field.nullable else ""
        return f"`{field.name}`", type_ + null, metadata.get("unit", ""), metadata["description"]

    return _table(("column", "type", "unit", "meaning"), map(row, schema))


def reasons() -> str:
    """Return the table of reject reasons."""
    rows = ((f"`{reason}`", reason.description, "yes" if reason.retryable else "") for reason in Reason)
    return _table(("reason", "meaning", "tried again by the next run"), rows)


def exits() -> str:
    """Return the table of exit codes."""
    return _table(("code", "meaning"), ((str(code.value), code.description) for code in Exit))


def settings() -> str:
    """Return the table of settings: variable, option where there is one, default, meaning."""
    option_of = {path: f"`--{parameter.replace('_', '-')}`" for parameter, path in SETTING_OF.items()}
    rows = (
        (f"`{variable_of(path)}`", option_of.get(path, ""), default, meaning)
        for path, default, meaning in _leaves(Settings, ())
    )
    return _table(("environment variable", "option", "default", "meaning"), rows)


def _leaves(model: type[BaseModel], path: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], str, str]]:
    for name, field in model.model_fields.items():
        here = (*path, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _leaves(field.annotation, here)
        else:
            yield here, _shown(field.get_default(call_default_factory=True)), field.description or ""


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def accuracy() -> str:
    """Return the table of what the default bundle measured, as its card says."""
    card = load_bundle("default").card
    rows = (
        (item.dataset, item.metric, f"{item.value:.3f}", f"{item.low:.3f} to {item.high:.3f}", str(item.films))
        for item in card.metrics
    )
    return _table(("films", "metric", "value", "95 % interval", "number"), rows)


def models() -> str:
    """Return the table of the catalog: every architecture, with its parameters here and in its paper."""
    head = (
        "paper",
        "architecture",
        "variant",
        "system",
        "parameters",
        "in the paper",
        "input",
        "gives",
        "recipe",
        "status",
    )
    rows = (
        (
            entry.paper,
            f"`{entry.name}`",
            variant.label,
            entry.system,
            f"{variant.parameters:,}",
            "" if variant.paper_millions is None else f"{variant.paper_millions} M",
            f"{entry.side} x {entry.side}",
            ", ".join(entry.outputs),
            "" if variant.recipe is None else f"`{variant.recipe}`",
            variant.status.value,
        )
        for entry in CATALOG.values()
        for variant in entry.variants
    )
    return _table(head, rows)


def syntaxes() -> str:
    """Return the table of transfer syntaxes that are read."""
    return _table(("transfer syntax", "UID"), ((UID(uid).name, f"`{uid}`") for uid in SYNTAXES))


#: What stands between the markers of each name.
TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "score columns": lambda: columns(SCORES),
    "reject columns": lambda: columns(REJECTS),
    "reasons": reasons,
    "exit codes": exits,
    "settings": settings,
    "transfer syntaxes": syntaxes,
    "accuracy": accuracy,
    "models": models,
}


def rewritten(text: str) -> str:
    """Return README text `text` with every table as the code has it now.

    Raises
    ------
    ValueError
        A table's markers are missing.
    """
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            raise ValueError(f"expected '<!-- table: {name} -->' and '<!-- end -->' in the README; got none")
        text = f"{text[: found.end(1)]}{make()}\n{text[found.start(2) :]}"
    return text


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote the tables of {README.name}\n")
