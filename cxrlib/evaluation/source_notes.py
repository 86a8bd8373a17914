"""What a reader must know of each source before trusting a figure: what its films are, what its labels are worth."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cxrlib.errors import UsageError


class SourceNote(BaseModel):
    """What is known of a source that its films do not say.

    Attributes
    ----------
    films : str
        What the films are, where they come from, and under which licence.
    labels : str
        Who drew or gave the labels, by which convention, and what they are therefore worth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    films: str
    labels: str


_NOTES: Final = TypeAdapter(dict[str, SourceNote])


def read_source_notes(path: Path) -> Mapping[str, SourceNote]:
    """Read the notes of sources: a TOML file with one table a source, each with the keys `films` and `labels`.

    Raises
    ------
    UsageError
        It cannot be read, is not TOML, or a table lacks a key or has another.
    """
    try:
        return _NOTES.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise UsageError(f"expected one table a source in {path}, with the keys films and labels: {error}") from error
