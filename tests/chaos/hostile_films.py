"""Make the decoder crash, hang or take too much memory for chosen films; see `tests/chaos/hostile/sitecustomize.py`."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support.paths import ROOT


def hostile_environment(films: Mapping[Path, str]) -> dict[str, str]:
    """Return environment variables under which decoding each of `films` performs the action it is mapped to."""
    path = os.pathsep.join([str(Path(__file__).parent / "hostile"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    actions = {hashlib.sha256(film.read_bytes()).hexdigest(): action for film, action in films.items()}
    return {"PYTHONPATH": path, "CXR_TEST_HOSTILE": json.dumps(actions)}


def processes_with(variable: str, value: str) -> list[int]:
    """Return the ids of the live processes in whose environment `variable` is `value`."""
    wanted = f"{variable}={value}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # the process ended meanwhile, or belongs to another user
            continue
    return found


def wait_until(seconds: float, condition: Callable[[], bool]) -> bool:
    """Return whether `condition` becomes true within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.5)
    return False
