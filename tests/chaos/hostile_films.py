"""Run with films whose decoder does what it must not; see `tests/chaos/hostile/sitecustomize.py`."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.paths import ROOT


def hostile_environment(films: Mapping[Path, str]) -> dict[str, str]:
    """Return the variables under which the decoder does to each of `films` what it is mapped to."""
    path = os.pathsep.join([str(Path(__file__).parent / "hostile"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    does = {hashlib.sha256(film.read_bytes()).hexdigest(): what for film, what in films.items()}
    return {"PYTHONPATH": path, "CXR_TEST_HOSTILE": json.dumps(does)}


def processes_with(variable: str, value: str) -> list[int]:
    """Return the ids of the processes, zombies left out, in whose environment `variable` is `value`."""
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # it ended meanwhile, or is another's
            continue
    return found


def wait_until(seconds: float, holds: Callable[[], bool]) -> bool:
    """Return whether the callable `holds` becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.5)
    return False
