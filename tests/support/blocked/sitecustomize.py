"""Make chosen modules look as if they were not installed, in every process with this folder on its PYTHONPATH.

Python imports a module of this name at its start. ``BLOCKED_MODULES`` holds the names, separated by commas.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder

_NAMES = tuple(name for name in os.environ.get("BLOCKED_MODULES", "").split(",") if name)


class _Blocked(MetaPathFinder):
    """Finds none of the chosen modules."""

    def find_spec(self, fullname: str, _path: Sequence[str] | None, _target: object = None) -> None:
        if any(fullname == name or fullname.startswith(f"{name}.") for name in _NAMES):
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


sys.meta_path.insert(0, _Blocked())  # type: ignore[arg-type]
