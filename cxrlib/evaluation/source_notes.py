"""Notes on each source of labelled films, shown in a report: what the films are and how good the labels are."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from cxrlib.errors import UsageError


class SourceNote(BaseModel):
    """What is known about a source beyond its files.

    Attributes
    ----------
    films : str
        What the films are, where they come from, and their licence.
    labels : str
        Who made the labels, by which convention, and how far they can be trusted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    films: str
    labels: str


_NOTES: Final = TypeAdapter(dict[str, SourceNote])


def read_source_notes(path: Path) -> Mapping[str, SourceNote]:
    """Read source notes from a TOML file with one table per source, each with the keys `films` and `labels`.

    Raises
    ------
    UsageError
        The file cannot be read, is not TOML, or a table has a missing or unknown key.
    """
    try:
        return _NOTES.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise UsageError(
            f"{path}: expected TOML with one table per source, each with the keys films and labels; got {error}"
        ) from error
