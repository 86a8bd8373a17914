"""The code blocks of the README files, found by the heading they are under."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT

#: Folders whose Markdown files are the project's own pages.
_FOLDERS: Final = ("schemas", "cxrlib", "pipelines", "flows", "infra", "tests")
_HEADING: Final = re.compile(r"^#+ (?P<heading>.+)$")
_FENCE: Final = "```"
#: Language of a block that shows a layout and is not run.
_LAYOUT: Final = "text"


@dataclass(frozen=True)
class Block:
    """A code block.

    Attributes
    ----------
    page : str
        Path of the Markdown file from the root of the repository.
    section : str
        The heading that the block is under.
    language : str
        Empty where its lines are commands.
    code : str
    """

    page: str
    section: str
    language: str
    code: str

    @property
    def commands(self) -> list[str]:
        """Return its lines without comments, each a command."""
        return [line.partition("  #")[0].strip() for line in self.code.splitlines() if line.strip()]


def pages() -> list[str]:
    """Return the path of every Markdown page of the project, from the root of the repository."""
    found = [*ROOT.glob("*.md"), *(path for folder in _FOLDERS for path in (ROOT / folder).rglob("*.md"))]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def all_blocks() -> list[Block]:
    """Return every code block of every page, in order; drawings of folders are not code."""
    return [block for page in pages() for block in _blocks_of(page) if block.language != _LAYOUT]


def blocks(section: str, page: str = "README.md") -> list[Block]:
    """Return the code blocks under one heading of a page.

    Raises
    ------
    LookupError
        The page has no such section, or no code in it.
    """
    found = [block for block in _blocks_of(page) if block.section == section and block.language != _LAYOUT]
    if not found:
        raise LookupError(f"expected a section {section!r} with code in {page}; got none")
    return found


def _blocks_of(page: str) -> Iterator[Block]:
    section, language, lines = "", None, list[str]()
    for line in Path(ROOT / page).read_text(encoding="utf-8").splitlines():
        heading = _HEADING.match(line)
        if line.startswith(_FENCE):
            if language is None:
                language, lines = line.removeprefix(_FENCE), []
            else:
                yield Block(page, section, language, "".join(f"{line}\n" for line in lines))
                language = None
        elif language is not None:
            lines.append(line)
        elif heading:
            section = heading["heading"]
