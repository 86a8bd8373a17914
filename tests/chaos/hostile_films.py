"""Make the decoder crash, hang or take too much memory for chosen films; see `tests/chaos/hostile/sitecustomize.py`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.paths import ROOT


def hostile_environment(films: Mapping[Path, str]) -> dict[str, str]:
    """Return environment variables under which decoding each of `films` performs the action it is mapped to."""
    path = os.pathsep.join([str(Path(__file__).parent / "hostile"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    actions = {hashlib.sha256(film.read_bytes()).hexdigest(): action for film, action in films.items()}
    return {"PYTHONPATH": path, "CXR_TEST_HOSTILE": json.dumps(actions)}
