"""README.md says what the code says."""

from __future__ import annotations

import pytest

from cxr_schemas import REJECTS, SCORES, Reason
from tests.docs.tables import README, TABLES, rewritten


def test_every_table_of_the_readme_is_the_codes_own() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == rewritten(text), "README.md is behind the code: run `make readme`"


def test_every_column_and_reason_stands_in_the_readme() -> None:
    text = README.read_text(encoding="utf-8")
    names = [*SCORES.names, *REJECTS.names, *(reason.value for reason in Reason)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_every_setting_says_what_it_is() -> None:
    table = TABLES["settings"]()
    assert [line for line in table.splitlines() if line.endswith("|  |")] == []


@pytest.mark.parametrize("name", TABLES)
def test_readme_without_a_tables_markers_is_refused(name: str) -> None:
    text = README.read_text(encoding="utf-8").replace(f"<!-- table: {name} -->", "")
    with pytest.raises(ValueError, match=name):
        rewritten(text)
