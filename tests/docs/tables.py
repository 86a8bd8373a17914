"""Write the tables of the README files that repeat what the code says.

``python -m tests.docs.tables`` (``make readme``) writes each table between its pair of marker comments. A test fails
where a table and the code differ.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import pyarrow as pa
from pydantic import BaseModel
from pydicom.uid import UID

from cxr_flows.cli.exit_codes import Exit
from cxr_flows.cli.main import COMMANDS
from cxr_flows.cli.options import SETTING_OF, variable_of
from cxr_schemas import PLAN, REJECTS, SCORES, Reason, RunCounts, RunManifest
from cxrlib.models.architectures.catalog import TrainingStatus, load_catalog, load_departures
from cxrlib.models.bundle import load_bundle
from cxrlib.models.inference.forward_batch import COLUMNS_MB, FORWARD_BATCHES
from cxrlib.reading.codecs.transfer_syntaxes import SYNTAXES
from cxrlib.settings import Settings
from tests.support.paths import ROOT


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "\\<")  # Markdown would take `<etag>` for HTML


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
    return _table(("reason", "meaning", "the next run tries again"), rows)


def manifest() -> str:
    """Return the table of the fields of a run's manifest."""
    described = {name: field.description or "" for name, field in RunManifest.model_fields.items()}
    described |= {f"counts.{name}": field.description or "" for name, field in RunCounts.model_fields.items()}
    return _table(("field", "meaning"), ((f"`{name}`", meaning) for name, meaning in described.items()))


def commands() -> str:
    """Return the table of commands and their subcommands, each with the module that defines it."""
    return _table(("command", "what it does", "module"), _commands())


def _commands() -> Iterator[tuple[str, str, str]]:
    for name, (where, summary) in COMMANDS.items():
        module, _, attribute = where.partition(":")
        yield f"`cxr {name}`", summary, f"`{module}`"
        command = getattr(import_module(module), attribute)
        if isinstance(command, click.Group):
            for sub, inner in command.commands.items():
                if not inner.hidden:
                    yield f"`cxr {name} {sub}`", inner.get_short_help_str(200), f"`{module}`"


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


def _leaves(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str, str]]:
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
    """Return the table of what the default bundle measured, as its card states it."""
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
        for entry in load_catalog().values()
        for variant in entry.variants
    )
    return _table(head, rows)


def statuses() -> str:
    """Return the table of what the statuses of an architecture mean."""
    return _table(("status", "meaning"), ((status.value, status.meaning) for status in TrainingStatus))


def departures() -> str:
    """Return the table of departures of our recipes from their papers."""
    rows = ((paper, text) for paper, texts in load_departures().items() for text in texts)
    return _table(("paper", "departure"), rows)


def forward_batches() -> str:
    """Return the table of films per forward pass on a GPU."""
    *within, _ = COLUMNS_MB
    head = ("GiB", *(f"up to {bound} MB a film" for bound in within), "more")
    return _table(head, ((str(gib), *map(str, row)) for gib, row in FORWARD_BATCHES.items()))


def syntaxes() -> str:
    """Return the table of transfer syntaxes that are read."""
    rows = ((UID(uid).name, f"`{uid}`", packing.value) for uid, packing in SYNTAXES.items())
    return _table(("transfer syntax", "UID", "pixels are stored as"), rows)


#: The README files that hold generated tables: what is written between the markers of each name.
TABLES: Final[Mapping[Path, Mapping[str, Callable[[], str]]]] = {
    ROOT / "schemas" / "README.md": {
        "score columns": lambda: columns(SCORES),
        "reject columns": lambda: columns(REJECTS),
        "reasons": reasons,
        "plan columns": lambda: columns(PLAN),
        "manifest": manifest,
    },
    ROOT / "cxrlib" / "models" / "README.md": {
        "models": models,
        "statuses": statuses,
        "departures": departures,
        "accuracy": accuracy,
        "forward batches": forward_batches,
    },
    ROOT / "cxrlib" / "reading" / "README.md": {"transfer syntaxes": syntaxes},
    ROOT / "flows" / "README.md": {"commands": commands, "settings": settings, "exit codes": exits},
}


def rewritten(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return the text of a README file with every one of `tables` as the code has it now.

    Raises
    ------
    ValueError
        A table's markers are missing.
    """
    for name, make in tables.items():
        pattern = re.compile(rf"(<!-- table: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            raise ValueError(f"expected '<!-- table: {name} -->' and '<!-- end -->' in the README; got none")
        text = f"{text[: found.end(1)]}{make()}\n{text[found.start(2) :]}"
    return text


if __name__ == "__main__":
    for path, tables in TABLES.items():
        path.write_text(rewritten(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
        sys.stdout.write(f"wrote {', '.join(tables)} into {path.relative_to(ROOT)}\n")
