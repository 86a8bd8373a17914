"""Environment variables for Prefect: no telemetry, and a long start-up timeout.

Prefect reads its settings from the environment at import, so this module sets them before. Variables that are already
set are not changed.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

#: No telemetry. A server that is started for one run may start slowly on a busy machine.
_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
}


def prepare_prefect() -> None:
    """Set the variables that this product needs; call it before Prefect is imported."""
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)


def hide_tracebacks() -> None:
    """Make Prefect log the failure of a flow or task without its traceback: the command prints the error itself."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def isolate_prefect(home: Path) -> None:
    """Make Prefect use the folder `home` only: the user's profile, server and database are not touched.

    Only warnings are logged. For the demo and the tests; call it before Prefect is imported.
    """
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = str(home.absolute())
    os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
    prepare_prefect()
