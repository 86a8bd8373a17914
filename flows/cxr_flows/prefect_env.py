"""Environment that Prefect must find before it is first imported: no telemetry, and patience with a slow start.

Prefect reads its settings from the environment while it is imported, so this is the one place that writes to it.
What the caller's environment says already is left as it is.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

#: Nothing is reported to anybody; a server that is started for one run may take long on a busy machine.
_ALWAYS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_CLI_PROMPT": "false",
}


def prepare_prefect() -> None:
    """Set what every use of Prefect by this product needs; call it before Prefect is imported."""
    for name, value in _ALWAYS.items():
        os.environ.setdefault(name, value)


def hide_tracebacks() -> None:
    """Have Prefect log that a flow or task failed, and why, without the traceback: for whoever is told in one line."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)


def _without_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def isolate_prefect(home: Path) -> None:
    """Keep Prefect to the folder `home`: no profile, no server and no database of the user's is touched.

    Only warnings are logged. For the demo and the tests; call it before Prefect is imported.
    """
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ["PREFECT_HOME"] = str(home.absolute())
    os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
    prepare_prefect()
