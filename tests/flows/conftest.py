"""Give Prefect a temporary home before any test imports it: the user's profile and database are not touched."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cxr_flows.prefect_env import isolate_prefect

_HOME = tempfile.TemporaryDirectory(prefix="cxr-prefect-")
isolate_prefect(Path(_HOME.name))
