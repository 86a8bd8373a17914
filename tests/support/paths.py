"""Paths of the repository and of the real films; no other test module counts parent folders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Root of the repository.
ROOT: Final = Path(__file__).resolve().parents[2]
#: Real films with ground truth, stored beside the repository and never part of it.
REAL_FILMS: Final = ROOT.parent / "shared" / "data"
