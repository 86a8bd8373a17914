"""The README as a reader follows it: its sections by their bold first words, and the code blocks of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from tests.support.paths import ROOT

README: Final = ROOT / "README.md"
_SECTION: Final = re.compile(r"^(?:\*\*(?P<bold>[^*]+?)\.\*\*|#+ (?P<heading>.+)$)", re.MULTILINE)
_BLOCK: Final = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A code block; `language` is empty where its lines are commands."""

    language: str
    code: str

    @property
    def commands(self) -> list[str]:
        """Return its lines, each a command."""
        return [line.partition("  #")[0].strip() for line in self.code.splitlines() if line.strip()]


def blocks(section: str) -> list[Block]:
    """Return the code blocks of a section, which begins with `section` in bold or is headed so.

    Raises
    ------
    LookupError
        The README has no such section, or no code in it.
    """
    text = README.read_text()
    starts = [(match.start(), match["bold"] or match["heading"]) for match in _SECTION.finditer(text)]
    ends = [start for start, _ in starts[1:]] + [len(text)]
    found = [text[start:end] for (start, name), end in zip(starts, ends, strict=True) if name == section]
    if len(found) != 1 or "```" not in found[0]:
        raise LookupError(f"expected one section {section!r} with code in {README.name}; got {len(found)}")
    return [Block(match["language"], match["code"]) for match in _BLOCK.finditer(found[0])]
