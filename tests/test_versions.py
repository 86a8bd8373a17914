"""The version of the software changes when results change, so that `software_version` in a row means something."""

from __future__ import annotations

import re
from typing import Final

from cxrlib import __version__
from cxrlib.settings import RESULTS_VERSION
from tests.support.paths import ROOT

#: A heading of CHANGELOG.md: ``## 0.2.0 - 2026-11-29 - results version 12``.
_HEADING: Final = re.compile(
    r"^## (?P<version>\S+) - \d{4}-\d\d-\d\d - results version (?P<results>\d+)$", re.MULTILINE
)


def releases() -> list[tuple[str, int]]:
    """Return version and results version of every entry of the changelog, newest first."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return [(found["version"], int(found["results"])) for found in _HEADING.finditer(text)]


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    assert releases()[0] == (__version__, RESULTS_VERSION), (
        "RESULTS_VERSION or the version changed: raise `version` in pyproject.toml and add an entry to CHANGELOG.md"
    )


def test_no_version_has_two_entries() -> None:
    versions = [version for version, _ in releases()]
    assert len(set(versions)) == len(versions)


def test_the_changelog_describes_every_results_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert [number for number in range(1, RESULTS_VERSION + 1) if f"results version {number}" not in text.lower()] == []
