"""The version of the software changes when results change, so that `software_version` in a row means something."""

from __future__ import annotations

import re
from typing import Final

from cxrlib import __version__
from cxrlib.settings import RESULTS_VERSION
from tests.support.paths import ROOT

#: Heading of an entry of CHANGELOG.md; the first results version named below it is the newest of that version.
_ENTRY: Final = re.compile(r"^## (?P<version>\S+) \(.*2\d{3}-\d\d-\d\d\)$", re.MULTILINE)
_RESULTS: Final = re.compile(r"[Rr]esults version (?P<number>\d+)")


def releases() -> list[tuple[str, int]]:
    """Return version and results version of every entry of the changelog, newest first."""
    _, *parts = _ENTRY.split((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    return [(version, int(_RESULTS.findall(text)[0])) for version, text in zip(parts[::2], parts[1::2], strict=True)]


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    assert releases()[0] == (__version__, RESULTS_VERSION), (
        "RESULTS_VERSION or the version changed: raise `version` in pyproject.toml and add an entry to CHANGELOG.md"
    )


def test_every_version_has_one_entry() -> None:
    versions = [version for version, _ in releases()]
    assert len(set(versions)) == len(versions) >= 2


def test_the_changelog_describes_every_results_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headed = {int(number) for number in re.findall(r"^### Results version (\d+) ", text, re.MULTILINE)}
    assert [number for number in range(1, RESULTS_VERSION + 1) if number not in headed] == []
