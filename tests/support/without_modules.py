"""Run Python where chosen modules look as if they were not installed, in child processes too."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from cxrlib.extras import BUILDS_ON, modules_of

_FOLDER: Final = Path(__file__).parent / "blocked"
#: Every module that an extra installs.
OPTIONAL: Final = frozenset(module for extra in BUILDS_ON for module in modules_of(extra))
#: What the extra `gpu` installs, and what trains with it.
TORCH: Final = frozenset({*modules_of("gpu"), "lightning", "pytorch_lightning", "torchmetrics"}) - {
    *modules_of("score")
}


def python_without(
    modules: Iterable[str],
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``python -P ARGUMENTS`` in `folder` without `modules`, and return how it ended."""
    paths = [str(_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {name: value for name, value in os.environ.items() if not name.startswith("CXR_")}
    own |= {"PYTHONPATH": os.pathsep.join(paths), "BLOCKED_MODULES": ",".join(modules), **(environment or {})}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def cxr_without(
    modules: Iterable[str],
    *arguments: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command ``cxr`` in `folder` without `modules`, and return how it ended."""
    return python_without(modules, "-m", "cxr_flows.cli.main", *arguments, folder=folder, environment=environment)
