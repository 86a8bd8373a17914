"""The tables of the README files agree with the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from cxr_schemas import REJECTS, SCORES, Reason, RunCounts, RunManifest
from tests.docs.tables import TABLES, rewritten, settings
from tests.support.paths import ROOT


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_agree_with_the_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == rewritten(text, TABLES[path]), f"{path.relative_to(ROOT)} is behind the code: run `make readme`"


def test_every_column_and_reason_is_in_the_tables() -> None:
    text = (ROOT / "schemas" / "README.md").read_text(encoding="utf-8")
    names = [*SCORES.names, *REJECTS.names, *(reason.value for reason in Reason)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_field_of_the_manifest_has_a_meaning() -> None:
    fields = [*RunManifest.model_fields.items(), *RunCounts.model_fields.items()]
    assert [name for name, field in fields if not field.description] == []


def test_every_setting_has_a_meaning() -> None:
    assert [line for line in settings().splitlines() if line.endswith("|  |")] == []


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, tables in TABLES.items() for name in tables])
def test_missing_table_markers_are_an_error(path: Path, name: str) -> None:
    text = path.read_text(encoding="utf-8").replace(f"<!-- table: {name} -->", "")
    with pytest.raises(ValueError, match=name):
        rewritten(text, TABLES[path])


def test_every_table_of_a_readme_is_written_by_code() -> None:
    for path, tables in TABLES.items():
        assert path.read_text(encoding="utf-8").count("<!-- table:") == len(tables)
