"""Keep Prefect out of the user's own profile and database, and quiet; set before any test imports it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from cxr_flows.prefect_env import isolate_prefect

_HOME = tempfile.TemporaryDirectory(prefix="cxr-prefect-")
isolate_prefect(Path(_HOME.name))
