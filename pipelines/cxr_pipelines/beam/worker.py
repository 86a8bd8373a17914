"""A runner's worker process: Beam's SDK worker without a log on stderr (``python -m cxr_pipelines.beam.worker``)."""

from __future__ import annotations

import logging
import sys

from apache_beam.runners.worker import sdk_worker_main

if __name__ == "__main__":
    # Beam adds a handler that prints only if there is none. Log records go to the parent, which shows errors.
    logging.getLogger().addHandler(logging.NullHandler())
    sdk_worker_main.main(sys.argv)
