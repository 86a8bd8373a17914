"""A worker process of a runner: Beam's own, without its chatter on stderr. ``python -m cxr_pipelines.beam.worker``."""

from __future__ import annotations

import logging
import sys

from apache_beam.runners.worker import sdk_worker_main

if __name__ == "__main__":
    # With a handler in place nobody adds one that prints; what is logged goes to the parent, which shows errors.
    logging.getLogger().addHandler(logging.NullHandler())
    sdk_worker_main.main(sys.argv)
