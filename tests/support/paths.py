"""Where the repository and the real films lie: the only module of the tests that counts parent folders."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: Root of the repository.
ROOT: Final = Path(__file__).resolve().parents[2]
#: Real films with ground truth, beside the repository; never part of it.
REAL_FILMS: Final = ROOT.parent / "shared" / "data"
